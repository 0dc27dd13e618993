"""Stacks, with the operator killed at its calls, or with a Podman that refuses them: complete or gone, never half."""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from stromboli.errors import PodmanError
from stromboli.kube.objects import head
from tests.support.wire import is_finished, reason_of
from tests.unit.reconcile.conftest import SPACE, Roots, made_node
from tests.unit.reconcile.faults import Killed, Killer, Trouble
from tests.unit.reconcile.stacked import CACHE, Stacked, file, known
from tests.unit.reconcile.stage import STORY

NEWER = file("newer: {image: redis:7}", cache=f"{CACHE}, environment: {{SIZE: '2'}}")
OLDER = file("old: {image: redis:7}")
Patch = pytest.MonkeyPatch


async def started(stage: Stacked) -> None:
    """A run in a session has had its stack."""
    async with stage.node.process() as process:
        stage.up("first", OLDER, session=STORY)
        await stage.idle()
        await stage.at_rest(process)


async def nothing(stage: Stacked) -> None:
    """Nothing was there before."""


def first_run(stage: Stacked) -> None:
    stage.up("run", session=STORY)


def run_alone(stage: Stacked) -> None:
    stage.up("run")


def second_run(stage: Stacked) -> None:
    stage.up("second", OLDER, session=STORY)


def changed_run(stage: Stacked) -> None:
    stage.up("second", NEWER, session=STORY)


def idle(stage: Stacked) -> None:
    stage.is_idle = True


def deletion(stage: Stacked) -> None:
    stage.node.cluster._tell("DELETED", stage.node.cluster.all_sessions.pop((SPACE, STORY)))


def is_up(stage: Stacked, *others: str) -> bool:
    """The runs are through, the session is free, and the stack runs as the file says; the status says so, too."""
    objects = stage.node.cluster.objects.values()
    return (
        all(is_finished(one.get("status") or {}) for one in objects)
        and "currentRun" not in stage.status()
        and stage.running() == {"db", "cache", *others} == set(stage.services())
        and {name: one["state"] for name, one in stage.entries().items()} == dict.fromkeys(stage.running(), "Running")
    )


def is_gone(stage: Stacked) -> bool:
    fake = stage.node.fake
    objects = stage.node.cluster.objects.values()
    return (
        all(is_finished(one.get("status") or {}) for one in objects)
        and not stage.services()
        and not stage.node.agents()
        and not fake.volumes
        and not fake.networks
    )


def is_stopped(stage: Stacked) -> bool:
    return (
        not stage.running()
        and set(stage.services()) == {"db", "cache", "old"}
        and {one["state"] for one in stage.entries().values()} == {"Stopped"}
    )


@dataclass(frozen=True)
class Life:
    """A part of a stack's life: what was before, how it begins, and what it comes to, with the prompts sent by then.

    Of its calls, those after `since` and before `until` are looked at: what a run does besides is tested elsewhere.
    """

    begin: Callable[[Stacked], None]
    done: Callable[[Stacked], bool]
    prompts: tuple[str, ...] = ("first",)
    before: Callable[[Stacked], Awaitable[None]] = started
    since: str = "."
    until: str = "/attach$"


LIVES = {
    "first": Life(first_run, is_up, ("run",), nothing),
    "alone": Life(run_alone, is_gone, ("run",), nothing, since="/attach$", until="^$"),
    "second": Life(second_run, lambda stage: is_up(stage, "old"), ("first", "second"), since="put status"),
    "changed": Life(changed_run, lambda stage: is_up(stage, "newer"), ("first", "second")),
    "idle": Life(idle, is_stopped),
    "deletion": Life(deletion, is_gone),
}
# Between two such calls, neither Podman nor the API server has anything of a stack that is not known from before.
CHANGES = re.compile(r"put |create |delete |POST .*/(create|start|stop)$|DELETE ")


def moments(calls: list[str], life: Life) -> Iterator[int]:
    """The numbers of the calls at which something changes, as far as this life is about them."""
    since = next((n for n, call in enumerate(calls) if re.search(life.since, call)), 0)
    until = next((n for n, call in enumerate(calls) if re.search(life.until, call) and n > since), len(calls))
    return (n + 1 for n in range(since, until) if CHANGES.match(calls[n]))


def kinds(calls: list[str]) -> list[int]:
    """The numbers of the first call of each kind, as far as it is about a stack."""
    found: dict[str, int] = {}
    until = next((n for n, call in enumerate(calls) if call.endswith("/attach")), len(calls))
    for number, call in enumerate(calls[:until], start=1):
        if " /images/" in call or " /exec/" in call:
            continue
        found.setdefault(re.sub(r"[0-9a-f]{64}|[0-9a-f-]{36}", "ID", call), number)
    return [*found.values()]


async def through(stage: Stacked, life: Life, killer: Killer, trouble: Trouble | None = None) -> None:
    """One operator, until it is killed, or the stack has come to what it was to come to."""
    node = stage.node
    async with node.process(killer, trouble=trouble) as process:
        life.begin(stage)
        with contextlib.suppress(Killed):
            await process.sweep.attempt()
        if (session := node.cluster.all_sessions.get((SPACE, STORY))) is not None:
            process.wakers.session(head(session["metadata"]))

        def over() -> bool:
            return killer.dead.is_set() or ((life.done(stage) or failed(stage)) and process.is_idle())

        await node.until(over, f"an operator that is killed at call {killer.at}, or is through")


def failed(stage: Stacked) -> bool:
    """Whether a run has ended because a service could not be started."""
    return any(reason_of(one.get("status") or {}) == "ServiceFailed" for one in stage.node.cluster.objects.values())


async def lived(
    roots: Roots, patch: Patch, life: Life, killer: Killer, trouble: Trouble | None = None, told: str = ""
) -> list[str]:
    """A life with a fault in it, and what comes of it; the calls of the first operator."""
    async with made_node(roots) as node:
        with patch.context() as own:
            stage = Stacked(node, own)
            await life.before(stage)
            uid = stage.session()["metadata"]["uid"] if life.before is started else ""
            kept = {name: one.id for name, one in stage.services().items()}
            await through(stage, life, killer, trouble)
            if killer.at is not None:
                await through(stage, replace(life, begin=lambda _: None), Killer())
            assert len(set(node.prompts)) == len(node.prompts), told
            if failed(stage):
                assert trouble is not None, told
                assert trouble.calls[(trouble.at or 0) - 1].endswith("/start"), told
                assert tuple(stage.sent) == life.prompts[:-1], told
                return killer.calls
            assert tuple(stage.sent) == life.prompts, told
            assert {reason_of(one["status"]) for one in node.cluster.objects.values()} == {"Completed"}, told
            if life.done is is_gone and uid:
                assert stage.left(uid) == [], told
            elif kept:
                assert stage.services()["db"].id == kept["db"], told
    return killer.calls


@pytest.mark.parametrize("name", LIVES)
async def test_killed_at_any_call(roots: Roots, monkeypatch: Patch, name: str) -> None:
    """Of each two calls, one before its effect, and one after it."""
    await known(roots)
    life = LIVES[name]
    calls = await lived(roots, monkeypatch, life, Killer())
    for place, number in enumerate(moments(calls, life)):
        after = bool(place % 2)
        told = f"killed at call {number}, {calls[number - 1]}, {'after' if after else 'before'} its effect"
        await lived(roots, monkeypatch, life, Killer(number, after=after), told=told)


@pytest.mark.parametrize(
    ("name", "answers"), [("first", False), ("changed", True), ("idle", False), ("idle", True), ("deletion", True)]
)
async def test_podman_refuses_or_does_not_answer(roots: Roots, monkeypatch: Patch, name: str, answers: bool) -> None:
    """The first of all calls of a kind: the stack comes up all the same, or is gone, unless a start was refused."""
    await known(roots)
    life = LIVES[name]
    error = PodmanError("no", 500) if answers else None
    await lived(roots, monkeypatch, life, Killer(), trouble := Trouble())
    for number in kinds(trouble.calls):
        told = f"{'refused' if answers else 'not answered'} at call {number}, {trouble.calls[number - 1]}"
        await lived(roots, monkeypatch, life, Killer(), Trouble(number, error, after=bool(number % 2)), told)


async def test_a_run_is_deleted_while_no_operator_is_there(roots: Roots, monkeypatch: Patch) -> None:
    """Whatever the one before it had made by then is removed, and nothing is sent any more.

    Tasks of an operator do not always take turns in the same way: at a call of this number, this life may be further
    than the one that was counted, and its prompt sent.
    """
    await known(roots)
    life = replace(LIVES["alone"], since=".", until="/attach$")
    calls = await lived(roots, monkeypatch, life, Killer())
    for number in moments(calls, life):
        async with made_node(roots) as node:
            with monkeypatch.context() as own:
                stage = Stacked(node, own)
                await through(stage, life, Killer(number, after=True))
                uid, sent = node.get()["metadata"]["uid"], [*stage.sent]
                node.cluster.delete_run(SPACE, "run")
                async with node.process() as process:
                    assert await process.sweep.attempt()
                    await node.until(lambda uid=uid, stage=stage: stage.left(uid) == [], calls[number - 1])  # type: ignore[misc]
                assert stage.sent == sent


@pytest.mark.parametrize("seed", range(4))
async def test_killed_again_and_again(roots: Roots, monkeypatch: Patch, seed: int) -> None:
    chance = random.Random(seed)
    async with made_node(roots) as node:
        stage = Stacked(node, monkeypatch)
        life = LIVES["first"]
        told = []
        for turn in range(5):
            killer = Killer(chance.randint(10, 90), after=chance.random() < 0.5)
            told.append((killer.at, killer.after))
            await through(stage, life if turn == 0 else replace(life, begin=lambda _: None), killer)
        await through(stage, replace(life, begin=lambda _: None), Killer())
        assert stage.sent == ["run"], told
