"""Stacks, with the operator killed at its calls, or with a Podman that refuses them: complete or gone, never half."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from stromboli.errors import PodmanError
from stromboli.kube.objects import head
from tests.support.wire import is_finished, reason_of
from tests.unit.reconcile.conftest import SPACE, Process, Roots, made_node
from tests.unit.reconcile.faults import Killer, Trouble
from tests.unit.reconcile.stacked import CACHE, Stacked, file, known
from tests.unit.reconcile.stage import STORY

NEWER = file("newer: {image: redis:7}", cache=f"{CACHE}, environment: {{SIZE: '2'}}")
WITH_ANOTHER = file("old: {image: redis:7}")
Patch = pytest.MonkeyPatch


async def started(stage: Stacked) -> None:
    """A run in a session has had its stack."""
    async with stage.node.process() as process:
        stage.up("first", WITH_ANOTHER, session=STORY)
        await stage.idle()
        await stage.at_rest(process)


async def nothing(stage: Stacked) -> None:
    """Nothing was there before."""


def first_run(stage: Stacked) -> None:
    stage.up("run", WITH_ANOTHER, session=STORY)


def run_alone(stage: Stacked) -> None:
    stage.up("run", WITH_ANOTHER)


def second_run(stage: Stacked) -> None:
    stage.up("second", WITH_ANOTHER, session=STORY)


def changed_run(stage: Stacked) -> None:
    stage.up("second", NEWER, session=STORY)


def idle(stage: Stacked) -> None:
    stage.is_idle = True


def deletion(stage: Stacked) -> None:
    stage.node.cluster._tell("DELETED", stage.node.cluster.all_sessions.pop((SPACE, STORY)))


def is_up(stage: Stacked, *others: str) -> bool:
    """The runs are through, the session is free, and the stack runs as the file says."""
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
    """A part of a stack's life: what was before, how it begins, and what it comes to, with the prompts sent by then."""

    begin: Callable[[Stacked], None]
    done: Callable[[Stacked], bool]
    prompts: tuple[str, ...] = ("first",)
    before: Callable[[Stacked], Awaitable[None]] = started


LIVES = {
    "first": Life(first_run, lambda stage: is_up(stage, "old"), ("run",), nothing),
    "alone": Life(run_alone, is_gone, ("run",), nothing),
    "second": Life(second_run, lambda stage: is_up(stage, "old"), ("first", "second")),
    "changed": Life(changed_run, lambda stage: is_up(stage, "newer"), ("first", "second")),
    "idle": Life(idle, is_stopped),
    "deletion": Life(deletion, is_gone),
}


async def through(
    stage: Stacked, life: Life, killer: Killer, trouble: Trouble | None = None, *, begin: bool = True
) -> None:
    """One operator, until it is killed, or the stack has come to what it was to come to."""
    async with stage.node.process(killer, trouble=trouble) as process:
        if begin:
            life.begin(stage)
        swept = await swept_at_the_start(process)
        session = stage.node.cluster.all_sessions.get((SPACE, STORY))
        if session is not None:
            process.wakers.session(head(session["metadata"]))
        del swept
        await stage.node.until(
            lambda: killer.dead.is_set() or (life.done(stage) and process.is_idle()),
            f"an operator that is killed at call {killer.at}, or is through; services {stage.running()}",
        )


async def swept_at_the_start(process: Process) -> bool:
    """As an operator does; one that is killed meanwhile says nothing."""
    try:
        return await process.sweep.attempt()
    except BaseException as killed:
        if not process.killer.dead.is_set():
            raise
        del killed
        return False


async def lived(
    roots: Roots, patch: Patch, life: Life, killer: Killer, trouble: Trouble | None = None, told: str = ""
) -> list[str]:
    """A life with a fault in it, and what comes of it; the calls of the operator that was killed."""
    async with made_node(roots) as node:
        with patch.context() as own:
            stage = Stacked(node, own)
            await life.before(stage)
            uid = stage.session()["metadata"]["uid"] if life.before is started else ""
            kept = {name: one.id for name, one in stage.services().items()}
            await through(stage, life, killer, trouble)
            if killer.at is not None:
                await through(stage, life, Killer(), begin=not killer.calls)
            assert tuple(stage.sent) == life.prompts, told
            assert len(set(node.prompts)) == len(node.prompts), told
            ends = {reason_of(one["status"]) for one in node.cluster.objects.values()}
            assert ends == {"Completed"}, told
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
    for number, call in enumerate(calls, start=1):
        after = bool(number % 2)
        told = f"killed at call {number}, {call}, {'after' if after else 'before'} its effect"
        await lived(roots, monkeypatch, life, Killer(number, after=after), told=told)


@pytest.mark.parametrize("name", ["first", "changed", "deletion"])
@pytest.mark.parametrize("answers", [True, False], ids=["refused", "unanswered"])
async def test_podman_refuses_any_call(roots: Roots, monkeypatch: Patch, name: str, answers: bool) -> None:
    await known(roots)
    life = LIVES[name]
    error = PodmanError("no", 500) if answers else None
    trouble = Trouble()
    await lived(roots, monkeypatch, life, Killer(), trouble)
    for number, call in enumerate([*trouble.calls], start=1):
        told = f"{'refused' if answers else 'not answered'} at call {number}, {call}"
        await lived(roots, monkeypatch, life, Killer(), Trouble(number, error, after=bool(number % 2)), told)
