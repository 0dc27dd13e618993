"""Whatever is decided about a run, an operator is killed at each call by which it carries that out; another goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, get_args

import pytest

from stromboli.plan import follow, retry
from stromboli.plan.attempt import CLI_MISSING
from stromboli.plan.follow import (
    AwaitCLI,
    Cancel,
    EndAttempt,
    Finish,
    FollowAgent,
    FollowHooks,
    GiveUp,
    HoldBack,
    Launch,
    Pause,
    TryAgain,
)
from stromboli.reasons import Reason
from tests.support.wire import is_finished, reason_of
from tests.unit.reconcile.conftest import SPACE, Inside, Node, Roots, container_owner, made_node, send
from tests.unit.reconcile.faults import Killer

STORY = "story"
EVERY = {*get_args(follow.Action), *get_args(follow.Late)}


class Decisions:
    """What is decided, as the operator's calls go on: `first` is how many calls it had made by the wanted action."""

    def __init__(self, wanted: type, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wanted = wanted
        self.killer = Killer()
        self.first: int | None = None
        self.made = asyncio.Event()
        for name in ("decide", "out_of_time", "before_start"):
            monkeypatch.setattr(follow, name, self._noting(getattr(follow, name)))

    def _noting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def decide(*args: Any) -> Any:
            said = original(*args)
            if isinstance(said, self.wanted):
                self.made.set()
                self.first = len(self.killer.calls) if self.first is None else self.first
            return said

        return decide


@dataclass
class Scene:
    """A node on which a run comes to the action."""

    node: Node
    decided: Decisions
    starts: int = 0

    async def hang(self, inside: Inside) -> None:
        """An agent, or a supervisor, that does nothing more."""

    async def until_decided(self, inside: Inside) -> None:
        """An agent that works until the action has been decided."""
        await self.decided.made.wait()
        self.node.answer(inside)

    async def hooks_until_decided(self, inside: Inside) -> None:
        (inside.out / "started").mkdir()
        (inside.out / "record").write_text("start 1.0\nbegin postStart 0 1.0\n")
        await self.decided.made.wait()
        send(inside.out)
        self.node.prompts.append((container_owner(inside.container), inside.out.parent.name))
        self.node.answer(inside)

    async def killed_at_first(self, inside: Inside) -> None:
        """Something kills the container before the prompt is sent, once."""
        self.starts += 1
        if self.starts > 1:
            return await self.node.supervise(inside)
        (inside.out / "started").mkdir()
        return inside.end(137)

    async def without_cli_at_first(self, inside: Inside) -> None:
        """The mount of the CLI is lost, twice."""
        self.starts += 1
        return await self.node.supervise(inside) if self.starts > 2 else inside.end(CLI_MISSING)

    async def fail_at_first(self, inside: Inside) -> None:
        """The agent fails, once."""
        self.starts += 1
        self.node.answer(inside, code=1 if self.starts == 1 else 0)

    async def lose_its_session(self, inside: Inside) -> None:
        """Somebody deletes the session under an agent that works for ever."""
        session = self.node.cluster.all_sessions.pop((SPACE, STORY), None)
        if session is not None:
            self.node.cluster._tell("DELETED", session)


async def prepared(scene: Scene) -> None:
    """Nothing but the run is there, and nothing happens."""


async def written_ahead(scene: Scene) -> None:
    """An operator dies after it has written the attempt down, and before it has made its container."""
    killer = Killer()

    def die(number: int) -> None:
        if killer.calls[-1] == "POST /containers/create" and scene.node.status().get("attempts"):
            killer.at = number

    killer.before = die
    async with scene.node.process(killer):
        await scene.node.until(killer.dead.is_set, "the operator is killed")


async def taken_back(scene: Scene) -> None:
    """Somebody lets the run go on, once it was held back."""
    await scene.decided.made.wait()
    scene.node.cluster.change_spec(SPACE, "run", suspend=False)


@dataclass(frozen=True)
class Scenario:
    """How a run comes to an action: what is played in its container, its spec, what was before, what happens meanwhile,
    and how it ends.
    """

    agent: Callable[[Scene, Inside], Awaitable[None]] | None = None
    supervisor: Callable[[Scene, Inside], Awaitable[None]] | None = None
    spec: dict[str, Any] = field(default_factory=dict)
    before: Callable[[Scene], Awaitable[None]] = prepared
    meanwhile: Callable[[Scene], Coroutine[Any, Any, None]] = prepared
    ends: Reason = Reason.Completed
    prompts: int = 1


MISSING = {"configMapKeyRef": {"name": "prompts", "key": "one"}}
SCENARIOS: dict[type, Scenario] = {
    Launch: Scenario(before=written_ahead),
    FollowHooks: Scenario(supervisor=Scene.hooks_until_decided, spec={"lifecycle": {"postStart": ["begin"]}}),
    FollowAgent: Scenario(agent=Scene.until_decided),
    EndAttempt: Scenario(agent=Scene.hang, spec={"timeout": "100ms"}, ends=Reason.TimedOut),
    Finish: Scenario(),
    TryAgain: Scenario(supervisor=Scene.killed_at_first),
    AwaitCLI: Scenario(supervisor=Scene.without_cli_at_first),
    Cancel: Scenario(agent=Scene.lose_its_session, spec={"session": {"name": STORY}}, ends=Reason.Canceled),
    HoldBack: Scenario(spec={"suspend": True}, meanwhile=taken_back),
    Pause: Scenario(agent=Scene.fail_at_first, spec={"retryOn": ["AgentFailed"]}, prompts=2),
    GiveUp: Scenario(spec={"promptFrom": MISSING, "timeout": "100ms"}, ends=Reason.TimedOut, prompts=0),
}


def test_each_action_has_its_scenario() -> None:
    assert set(SCENARIOS) == EVERY


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "CALL_AFTER", 0.05)
    monkeypatch.setattr(follow, "KILL_AFTER", 0.1)
    monkeypatch.setattr(retry, "FIRST", 0.05)
    monkeypatch.setattr("stromboli.plan.progress.FIRST_CHECK", 0.02)


async def killed_at(roots: Roots, decided: Decisions, number: int | None, *, after: bool = False) -> list[str]:
    """The scenario of the wanted action, by an operator that is killed at its n-th call, and by another; the calls of
    the first.
    """
    scenario = SCENARIOS[decided.wanted]
    decided.made.clear()
    async with made_node(roots) as node:
        scene = Scene(node, decided)
        node.agent = None if scenario.agent is None else _bound(scenario.agent, scene)
        node.supervisor = None if scenario.supervisor is None else _bound(scenario.supervisor, scene)
        spec = {"prompt": None, **scenario.spec} if "promptFrom" in scenario.spec else scenario.spec
        uid = node.run(**spec)["metadata"]["uid"]
        await scenario.before(scene)
        meanwhile = asyncio.create_task(scenario.meanwhile(scene))
        decided.killer = killer = Killer(number, after=after)
        async with node.process(killer) as process:

            def over() -> bool:
                return killer.dead.is_set() or (is_finished(node.status()) and len(process.queue) == 0)

            await node.until(over, f"an operator that is killed at call {number}, or is through")
        told = f"killed at call {number}, {killer.calls[-1]}"
        async with node.process() as process:
            await node.cleared(process)
        await meanwhile
        assert reason_of(node.status()) == scenario.ends, f"{told}: {node.status()}"
        assert len(node.prompts) == len(set(node.prompts)), told
        assert len(node.prompts) == scenario.prompts, told
        assert [left for left in node.left(uid) if left.startswith(("container", "volume"))] == [], told
    return killer.calls


def _bound(play: Callable[[Scene, Inside], Awaitable[None]], scene: Scene) -> Callable[[Inside], Awaitable[None]]:
    return lambda inside: play(scene, inside)


@pytest.mark.parametrize("action", SCENARIOS, ids=lambda action: action.__name__)
async def test_killed_at_any_call_from_then_on(roots: Roots, action: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the start of a container, if one follows. Of each two calls, one before its effect, and one after it."""
    decided = Decisions(action, monkeypatch)
    monkeypatch.setattr(follow, "pause", lambda _: 0.0 if decided.made.is_set() else 60.0)
    if not roots.facts.exists():  # the first has to look into the images
        await killed_at(roots, decided, None)
        decided.first = None
    calls = await killed_at(roots, decided, None)
    assert decided.first is not None, f"{action.__name__} was not decided"
    first = decided.first + 1
    starts = [number for number, call in enumerate(calls, start=1) if number > first and call.endswith("/start")]
    for number in range(first, min(starts, default=len(calls)) + 1):
        await killed_at(roots, decided, number, after=bool(number % 2))
