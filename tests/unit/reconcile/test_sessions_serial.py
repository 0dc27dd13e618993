"""One at a time in a session, also where Podman does not end a container, or the session goes during a launch."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from stromboli.reasons import ReadyReason, Reason
from tests.support.fake_podman import FakeContainer, Program
from tests.support.wire import reason_of
from tests.unit.reconcile.conftest import SPACE, Node, Roots, made_node
from tests.unit.reconcile.faults import Killer
from tests.unit.reconcile.stage import STORY, Stage

HOOKS = {"onCreateCommand": ["install"]}
# A run that was at work has lost its container by the time somebody looks.
ENDS = (Reason.Completed, Reason.Canceled, Reason.ContainerLost)


@pytest.fixture
def stage(node: Node) -> Stage:
    return Stage(node)


# --- the turn is given back once the container has ended, and not before ---


def refuses_to_kill(node: Node) -> None:
    node.fake.fail("POST /containers/.*/kill", 500, times=10**6)


def cannot_be_killed(node: Node) -> None:
    def program(_: FakeContainer) -> Program:
        return Program(ignores=frozenset({"KILL"}))

    node.fake.program = program


def freezes(node: Node) -> None:
    """As `podman pause`: it does not run, and would go on with its work at any time."""
    node.agents()[0].status = "paused"
    refuses_to_kill(node)


def heal(node: Node) -> None:
    node.fake.failures.clear()
    node.fake.program = lambda _: Program()
    for container in node.agents():
        if container.status == "paused":
            container.status = "running"


def leaving(stage: Stage) -> bool:
    ready = [c for c in stage.status()["conditions"] if c["type"] == "Ready"]
    return bool(ready) and ready[0]["reason"] == ReadyReason.Leaving


@pytest.mark.parametrize("trouble", [refuses_to_kill, cannot_be_killed, freezes])
async def test_a_container_that_may_still_run_keeps_the_turn(
    node: Node, stage: Stage, monkeypatch: pytest.MonkeyPatch, trouble: object
) -> None:
    assert callable(trouble)
    monkeypatch.setattr("stromboli.node.resting.ENDING", 0.02)
    stage.hold("first")
    first = stage.run("first")
    async with node.process():
        await stage.at_work("first")
        trouble(node)
        stage.run("second")
        node.cluster.delete_run(SPACE, "first")
        await node.until(lambda: leaving(stage), "it says why the turn is kept")
        [ready] = [c for c in stage.status()["conditions"] if c["type"] == "Ready"]
        assert ready["status"] == "False"
        assert ready["message"].startswith("the run first is over, but its container may still run: ")
        assert stage.status()["currentRun"] == {"name": "first", "uid": first}
        assert stage.sent == ["first"]
        heal(node)
        await stage.idle()
    assert stage.sent == ["first", "second"]
    assert reason_of(node.status("second")) == Reason.Completed
    assert stage.conditions() == {"Ready": ("True", ReadyReason.Available)}


async def test_a_run_whose_session_was_deleted_is_canceled_once_its_container_has_ended(
    node: Node, stage: Stage
) -> None:
    stage.hold("first")
    stage.run("first")
    async with node.process():
        await stage.at_work("first")
        node.fake.fail("POST /containers/.*/kill", 500, times=10**6)
        node.fake.fail("DELETE /containers/", 500, times=10**6)
        await node.cluster.delete_session(SPACE, STORY)
        await node.reason("PodmanUnavailable", "first")
        assert [c.status for c in node.agents()] == ["running"]
        heal(node)
        await node.finished("first")
        assert [c.status for c in node.agents() if c.status == "running"] == []
    assert reason_of(node.status("first")) == Reason.Canceled


# --- a session that is deleted while a run is being started in it ---


class Deleted(Killer):
    """Deletes the session at the run's n-th call, which then waits until all that the deletion can do is done."""

    def __init__(self, node: Node, uid: str, number: int | None) -> None:
        super().__init__()
        self.node, self.task, self.number = node, f"run {uid}", number
        self.made: list[str] = []
        self.gone = ""

    @asynccontextmanager
    async def guard(self, call: str) -> AsyncIterator[None]:
        task = asyncio.current_task()
        if task is not None and task.get_name() == self.task and not self.gone:
            self.made.append(call)
            if len(self.made) == self.number:
                await self._delete()
        async with super().guard(call):
            yield

    async def _delete(self) -> None:
        session = self.node.cluster.all_sessions.get((SPACE, STORY))
        if session is None:
            return
        self.gone = session["metadata"]["uid"]
        await self.node.cluster.delete_session(SPACE, STORY)
        for _ in range(40):  # it is done, or has to wait for us
            await asyncio.sleep(0.002)
            if all(task.get_name() != f"run {self.gone}" for task in asyncio.all_tasks()):
                return


async def calls_of_a_launch(roots: Roots) -> list[str]:
    for _ in range(1 if roots.facts.exists() else 2):
        async with made_node(roots) as node:
            stage = Stage(node)
            killer = Deleted(node, stage.run("first", lifecycle=HOOKS), None)
            async with node.process(killer):
                await stage.idle()
    return killer.made


@pytest.mark.parametrize("part", range(2))
async def test_deleted_at_any_call_of_a_run_nothing_of_the_session_stays(roots: Roots, part: int) -> None:
    """Without any sweep: the clean-up and the launch do not pass each other."""
    calls = await calls_of_a_launch(roots)
    assert [call for call in calls if re.fullmatch("POST /containers/create", call)]
    for number in range(1 + part, len(calls) + 1, 2):
        async with made_node(roots) as node:
            stage = Stage(node)
            killer = Deleted(node, stage.run("first", lifecycle=HOOKS), number)
            told = f"deleted at call {number}, {calls[number - 1]}"
            async with node.process(killer) as process:
                await node.finished("first")
                await node.until(process.is_idle, f"{told}: the queue is empty")
                gone = killer.gone
                if gone:
                    assert not node.left(gone), told
            assert len(node.prompts) <= 2, told
            assert reason_of(node.status("first")) in ENDS, told


class Named(dict[str, str]):
    """Whoever is not known is the second run."""

    def __missing__(self, _: str) -> str:
        return "second"


def _is_applied(node: Node, name: str) -> bool:
    return (SPACE, name) in node.cluster.objects


@pytest.mark.parametrize("part", range(2))
async def test_a_run_deleted_at_any_call_leaves_its_session_to_the_next(roots: Roots, part: int) -> None:
    calls = await calls_of_a_launch(roots)
    for number in range(1 + part, len(calls) + 1, 2):
        async with made_node(roots) as node:
            stage = Stage(node)
            first = stage.run("first", lifecycle=HOOKS)
            killer, told = Killer(), f"deleted at call {number}, {calls[number - 1]}"

            def delete(at: int, node: Node = node, number: int = number) -> None:
                if at == number and (SPACE, "first") in node.cluster.objects:
                    node.cluster.delete_run(SPACE, "first")
                    node.run("second", session={"name": STORY}, lifecycle=HOOKS)

            killer.before = delete
            stage.names = Named(stage.names)
            async with node.process(killer) as process:
                await node.until(partial(_is_applied, node, "second"), told)
                await stage.idle()
                await node.until(process.is_idle, f"{told}: the queue is empty")
            assert reason_of(node.status("second")) == Reason.Completed, told
            assert not list(node.home().glob(f"sessions/*/attempts/{first}-*")), told
            assert [c.status for c in node.agents()] == ["exited"], told
