"""Whatever is decided about a session's container, an operator is killed at each call from then on; another goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, get_args

import pytest

from stromboli import naming
from stromboli.plan import follow, resume
from stromboli.plan.resume import (
    CheckContainer,
    CheckCopy,
    CheckVolume,
    End,
    FromCopy,
    FromImage,
    Reuse,
    VolumeLost,
)
from stromboli.plan.verdict import Refuse, Wait
from stromboli.reasons import Reason
from tests.support.fake_podman import FakeContainer
from tests.support.wire import is_finished, reason_of
from tests.unit.reconcile.conftest import SPACE, Node, Roots, made_node
from tests.unit.reconcile.faults import Killer
from tests.unit.reconcile.stage import STORY, Stage

COPY = "copy"
INIT, START = "onCreateCommand", "postStart"
HOOKS = {INIT: ["install"], START: ["begin"]}


class Decisions:
    """What is decided for the run `second`, as an operator's calls go on.

    `first` is how many calls the operator of `killer` had made by the wanted action, and `then` by the next decision.
    `calling` is called before each of its calls, and `launching` when the start of an attempt that is written down is
    decided.
    """

    def __init__(self, wanted: type, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wanted = wanted
        self.killer: Killer | None = None
        self.first: int | None = None
        self.then: int | None = None
        self.made = asyncio.Event()
        self.calling: Callable[[], None] = _nothing
        self.launching: Callable[[], None] = _nothing
        decide, follow_up = resume.decide, follow.decide

        def decided(*args: Any) -> resume.Action:
            said = decide(*args)
            if self.killer is not None:
                self._note(said, len(self.killer.calls))
            return said

        def followed(*args: Any) -> follow.Action:
            said = follow_up(*args)
            if self.killer is not None and isinstance(said, follow.Launch):
                self.launching()
            return said

        monkeypatch.setattr(resume, "decide", decided)
        monkeypatch.setattr(follow, "decide", followed)

    def _note(self, said: resume.Action, calls: int) -> None:
        if self.first is not None and self.then is None:
            self.then = calls
        if isinstance(said, self.wanted):
            self.made.set()
            self.first = calls if self.first is None else self.first


def _nothing() -> None:
    return


# --- what was before the run `second` ---


async def a_first_run(stage: Stage, _: Decisions) -> None:
    """The session has a container, and a conversation on its volume."""
    async with stage.node.process():
        stage.run("first", lifecycle=HOOKS)
        await stage.idle()


async def no_container(stage: Stage, decided: Decisions) -> None:
    """Somebody has removed the container."""
    await a_first_run(stage, decided)
    stage.node.fake.containers.clear()


async def no_container_of_a_fork(stage: Stage, decided: Decisions) -> None:
    """Somebody has removed a fork's container, and not the image that it began with."""
    await a_first_run(stage, decided)
    async with stage.node.process():
        uid = stage.node.run("forked", session={"name": COPY, "fork": STORY}, lifecycle=HOOKS)["metadata"]["uid"]
        stage.names[uid] = "forked"
        await stage.idle(COPY)
    owner = stage.session(COPY)["metadata"]["uid"]
    for container in stage.node.agents():
        if container.labels[naming.OWNER] == owner:
            del stage.node.fake.containers[container.id]


async def no_volume(stage: Stage, decided: Decisions) -> None:
    await a_first_run(stage, decided)
    stage.node.fake.volumes.clear()


async def no_shape(stage: Stage, decided: Decisions) -> None:
    """The label by which policies judge the container cannot be read."""
    await a_first_run(stage, decided)
    [container] = stage.node.agents()
    container.body["labels"][naming.SHAPE] = "[]"


async def started_by_hand(stage: Stage, decided: Decisions) -> None:
    """The container comes to run, for no run, once the session is the second one's."""
    await a_first_run(stage, decided)
    [container] = stage.node.agents()
    start = _once(lambda: _start(container))

    def calling() -> None:
        if stage.status().get("currentRun", {}).get("name") == "second":
            start()

    decided.calling = calling


async def started_late(stage: Stage, decided: Decisions) -> None:
    """An operator dies at the start of the container, which Podman carries out when the next decides to start it."""
    killer = Killer()

    def die(number: int) -> None:
        if killer.calls[-1].endswith("/start"):
            killer.at = number

    killer.before = die
    stage.run("second", lifecycle=HOOKS)
    async with stage.node.process(killer):
        await stage.node.until(killer.dead.is_set, "the operator is killed")
    [container] = stage.node.agents()
    stage._holds["second"] = decided.made

    def start() -> None:
        _start(container)
        stage.node.fake.spawn(stage.node.play(container))

    decided.launching = _once(start)


def _start(container: FakeContainer) -> None:
    container.over = asyncio.Event()
    container.status = "running"


def _once(act: Callable[[], None]) -> Callable[[], None]:
    left = [act]
    return lambda: left.pop()() if left else None


@dataclass(frozen=True)
class Scenario:
    """How a run comes to an action: what was before, its session, how it ends, and whose prompts are sent."""

    before: Callable[[Stage, Decisions], Awaitable[None]] = a_first_run
    session: str = STORY
    ends: Reason = Reason.Completed
    sent: tuple[str, ...] = ("first", "second")


SCENARIOS: dict[type, Scenario] = {
    Wait: Scenario(started_late, sent=("second",)),
    End: Scenario(started_by_hand),
    CheckVolume: Scenario(),
    CheckContainer: Scenario(),
    CheckCopy: Scenario(no_container_of_a_fork, COPY, sent=("first", "forked", "second")),
    Refuse: Scenario(no_shape, ends=Reason.PolicyViolation, sent=("first",)),
    VolumeLost: Scenario(no_volume, ends=Reason.ContainerLost, sent=("first",)),
    Reuse: Scenario(),
    FromImage: Scenario(no_container),
    FromCopy: Scenario(no_container_of_a_fork, COPY, sent=("first", "forked", "second")),
}


def test_each_action_has_its_scenario() -> None:
    assert set(SCENARIOS) == set(get_args(resume.Action))


async def killed_at(roots: Roots, decided: Decisions, number: int | None, *, after: bool = False) -> list[str]:
    """The scenario of the wanted action, by an operator that is killed at its n-th call, and by another; the calls of
    the first.
    """
    scenario = SCENARIOS[decided.wanted]
    decided.killer, decided.calling, decided.launching = None, _nothing, _nothing
    decided.made.clear()
    async with made_node(roots) as node:
        stage = Stage(node)
        await scenario.before(stage, decided)
        if (SPACE, "second") not in node.cluster.objects:
            stage.run("second", scenario.session, lifecycle=HOOKS)
        decided.killer = killer = Killer(number, after=after)
        killer.before = lambda _: decided.calling()
        async with node.process(killer) as process:

            def over() -> bool:
                return killer.dead.is_set() or (is_finished(node.status("second")) and process.is_idle())

            await node.until(over, f"an operator that is killed at call {number}, or is through")
        told = f"killed at call {number}, {killer.calls[-1]}"
        async with node.process():
            await stage.idle(scenario.session)
        assert reason_of(node.status("second")) == scenario.ends, f"{told}: {node.status('second')}"
        assert tuple(stage.sent) == scenario.sent, told
        check(node, stage, told)
    return killer.calls


def check(node: Node, stage: Stage, told: str) -> None:
    """At most one container a session, none of which runs, and in each the first hooks once."""
    containers = node.agents()
    assert len({container.labels[naming.OWNER] for container in containers}) == len(containers), told
    assert [c.status for c in containers if c.status == "running"] == [], told
    assert {count for (_, hook), count in stage.hooks.items() if hook == INIT} == {1}, told


@pytest.mark.parametrize("action", SCENARIOS, ids=lambda action: action.__name__)
async def test_killed_at_any_call_from_then_on(roots: Roots, action: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the next decision, or to the start of the container. Of each two calls, one before its effect, and one
    after it.
    """
    decided = Decisions(action, monkeypatch)
    if not roots.facts.exists():  # the first has to look into the images
        await killed_at(roots, decided, None)
        decided.first = decided.then = None
    calls = await killed_at(roots, decided, None)
    assert decided.first is not None, f"{action.__name__} was not decided"
    first, last = decided.first + 1, decided.then or len(calls)
    starts = [number for number, call in enumerate(calls, start=1) if number > first and call.endswith("/start")]
    for number in range(first, min([*starts, last]) + 1):
        await killed_at(roots, decided, number, after=bool(number % 2))
