"""Runs that are canceled, held back and let go on, in every state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from stromboli.plan import follow, retry
from tests.support.wire import is_finished, reason_of
from tests.unit.reconcile.conftest import SPACE, Inside, Node
from tests.unit.reconcile.stage import STORY, Stage


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "CANCEL_MARGIN", 0.05)
    monkeypatch.setattr(retry, "FIRST", 30.0)


@pytest.fixture(autouse=True)
def _supervised(node: Node) -> None:
    """A supervisor does not end at SIGTERM: it ends its step."""
    program = node.fake.program
    node.fake.program = lambda container: replace(program(container), ignores=frozenset({"TERM"}))


def obeys(node: Node, *, after: float = 0.0) -> Callable[[Inside], Any]:
    """An agent that works until its supervisor is asked to end it."""

    async def play(inside: Inside) -> None:
        (inside.out / "stdout").write_bytes(b'{"type":"assistant","message":{"content":[]}}\n')
        while "TERM" not in inside.container.signals:  # noqa: ASYNC110 - the fake signals nothing
            await asyncio.sleep(0.002)
        await asyncio.sleep(after)
        (inside.out / "record").write_text("start 1.0\nbegin agent 0 1.0\nfinish 143 2.0\nend cancelled 143 0 2.0\n")
        inside.end(143)

    return play


async def ignores(inside: Inside) -> None:
    """An agent that stops for nothing."""


def cancel(node: Node, name: str = "run") -> None:
    node.cluster.change_spec(SPACE, name, cancel=True)


async def at_work(node: Node, count: int = 1) -> None:
    await node.until(lambda: len(node.prompts) == count, "the agent is at work")


async def test_an_agent_that_is_at_work_is_asked_to_end(node: Node) -> None:
    node.agent = obeys(node)
    uid = node.run()["metadata"]["uid"]
    async with node.process() as process:
        await at_work(node)
        cancel(node)
        await node.cleared(process)
    status = node.status()
    assert reason_of(status) == "Canceled"
    assert [(a["reason"], a["exitCode"]) for a in status["attempts"]] == [("Canceled", 143)]
    assert "while the agent was at work" in node.message()
    assert status["completionTime"]
    assert len(node.prompts) == 1
    assert [left for left in node.left(uid) if left.startswith(("container", "volume"))] == []


async def test_an_agent_that_does_not_end_is_killed_when_its_grace_is_over(node: Node) -> None:
    node.agent = ignores
    node.run(terminationGracePeriod="1s")
    async with node.process() as process:
        await at_work(node)
        [agent] = node.agents()
        cancel(node)
        await node.reason("Canceling")
        await node.cleared(process)
    assert agent.signals[0] == "TERM"
    assert agent.signals[-1] == "KILL"
    assert reason_of(node.status()) == "Canceled"
    assert "did not end within 1s and was killed" in node.message()


async def test_before_its_start_it_never_starts(node: Node) -> None:
    node.run(cancel=True)
    async with node.process() as process:
        await node.cleared(process)
    assert reason_of(node.status()) == "Canceled"
    assert "attempts" not in node.status()
    assert node.prompts == []


async def test_while_it_waits_for_something_missing(node: Node) -> None:
    node.run(prompt=None, promptFrom={"configMapKeyRef": {"name": "none", "key": "none"}})
    async with node.process() as process:
        await node.reason("WaitingForReference")
        cancel(node)
        await node.cleared(process)
    assert reason_of(node.status()) == "Canceled"
    assert node.prompts == []


async def test_in_a_queue_the_next_one_goes_on(node: Node) -> None:
    stage = Stage(node)
    stage.hold("first")
    async with node.process():
        stage.run("first")
        await stage.at_work("first")
        stage.run("second")
        await node.reason("Queued", "second")
        stage.run("third")
        await node.reason("Queued", "third")
        cancel(node, "second")
        await node.reason("Canceled", "second")
        stage.let("first")
        await stage.idle()
    assert stage.sent == ["first", "third"]


async def test_after_its_end_nothing_changes(node: Node) -> None:
    node.run()
    async with node.process() as process:
        await node.cleared(process)
        before = node.status()
        cancel(node)
        assert await process.sweep.attempt()
        await node.until(process.is_idle, "nothing is to be done")
        assert node.status() == before
    assert reason_of(before) == "Completed"


async def test_twice_is_once(node: Node) -> None:
    node.agent = obeys(node, after=0.05)
    node.run()
    async with node.process() as process:
        await at_work(node)
        cancel(node)
        await node.reason("Canceling")
        cancel(node)
        await node.cleared(process)
    assert reason_of(node.status()) == "Canceled"


async def test_a_canceled_run_is_not_tried_again(node: Node) -> None:
    async def fails(inside: Inside) -> None:
        node.answer(inside, code=1)

    node.agent = fails
    node.run(retryOn=["AgentFailed"])
    async with node.process() as process:
        await node.reason("Retrying")
        assert node.status()["nextAttemptTime"]
        cancel(node)
        await node.cleared(process)
    status = node.status()
    assert reason_of(status) == "Canceled"
    assert [(a["reason"], a["promptSent"]) for a in status["attempts"]] == [("AgentFailed", "Yes")]
    assert "nextAttemptTime" not in status
    assert len(node.prompts) == 1


async def test_its_sessions_container_stays_good(node: Node) -> None:
    stage = Stage(node)
    stage.hold("first")
    async with node.process():
        stage.run("first", lifecycle={"onCreateCommand": ["install"]})
        await stage.at_work("first")
        cancel(node, "first")
        [agent] = node.agents()
        await node.until(lambda: "TERM" in agent.signals, "it is asked to end")
        node.fake.finish(agent, 143)
        await stage.idle()
        stage.run("second")
        await stage.idle()
    assert reason_of(node.status("first")) == "Canceled"
    assert stage.sent == ["first", "second"]
    assert sum(stage.hooks.values()) == 1


# --- suspend ---


async def test_a_suspended_run_does_not_start_until_it_may(node: Node) -> None:
    node.run(suspend=True, timeout="1s")
    async with node.process() as process:
        await node.reason("Suspended")
        await node.until(process.is_idle, "nothing is to be done")
        assert node.prompts == []
        assert "attempts" not in node.status()
        node.cluster.change_spec(SPACE, "run", suspend=False)
        await node.cleared(process)
    assert reason_of(node.status()) == "Completed"


async def test_others_do_not_wait_for_a_suspended_run(node: Node) -> None:
    stage = Stage(node)
    async with node.process():
        stage.run("first", suspend=True)
        await node.reason("Suspended", "first")
        stage.run("second")
        await node.finished("second")
        node.cluster.change_spec(SPACE, "first", suspend=False)
        await stage.idle(STORY)
    assert stage.sent == ["second", "first"]


async def test_a_run_can_be_suspended_between_two_attempts(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST", 0.2)
    starts: list[int] = []

    async def fails_once(inside: Inside) -> None:
        starts.append(1)
        node.answer(inside, code=1 if len(starts) == 1 else 0)

    node.agent = fails_once
    node.run(retryOn=["AgentFailed"])
    async with node.process() as process:
        await node.reason("Retrying")
        node.cluster.change_spec(SPACE, "run", suspend=True)
        await node.reason("Suspended")
        await node.until(process.is_idle, "nothing is to be done")
        assert len(node.prompts) == 1
        node.cluster.change_spec(SPACE, "run", suspend=False)
        await node.cleared(process)
    assert is_finished(node.status())
    assert reason_of(node.status()) == "Completed"
    assert [a["reason"] for a in node.status()["attempts"]] == ["AgentFailed", "Completed"]
