"""Attempts after one whose prompt may have been sent: only for the reasons that a spec names, in its container."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stromboli import naming
from stromboli.attempt.folder import SessionFolder
from stromboli.errors import Rejected
from stromboli.perform.launch import Launcher
from stromboli.plan import follow, retry
from stromboli.plan.attempt import CONTINUE
from tests.support.wire import reason_of
from tests.unit.reconcile.conftest import Inside, Node
from tests.unit.reconcile.faults import Trouble
from tests.unit.reconcile.stage import STORY, Stage


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST", 0.02)


class Failing:
    """An agent that ends with each of these codes, one after the other; in which containers, and with which plans."""

    def __init__(self, node: Node, *codes: int) -> None:
        self.node = node
        self.codes = list(codes)
        self.containers: list[str] = []
        self.plans: list[bytes | None] = []
        node.agent = self.play

    async def play(self, inside: Inside) -> None:
        self.containers.append(inside.container.id)
        path = inside.plan / "continue"
        self.plans.append(path.read_bytes() if path.exists() else None)
        code = self.codes.pop(0)
        if code == 137:
            inside.end(137)
        else:
            self.node.answer(inside, code=code)


def attempts(node: Node, name: str = "run") -> list[tuple[Any, ...]]:
    return [(a["number"], a["reason"], a["promptSent"]) for a in node.status(name)["attempts"]]


def attempts_ended(node: Node) -> int:
    return sum("reason" in attempt for attempt in node.status().get("attempts", ()))


async def test_by_itself_nothing_is_sent_again(node: Node) -> None:
    Failing(node, 1, 0)
    node.run(backoffLimit=3)
    async with node.process() as process:
        await node.cleared(process)
    assert reason_of(node.status()) == "AgentFailed"
    assert len(node.prompts) == 1


async def test_a_reason_that_is_named_is_tried_again_in_the_same_container(node: Node) -> None:
    failing = Failing(node, 1, 1, 0)
    node.run(retryOn=["AgentFailed"])
    async with node.process() as process:
        await node.cleared(process)
    assert reason_of(node.status()) == "Completed"
    assert attempts(node) == [(1, "AgentFailed", "Yes"), (2, "AgentFailed", "Yes"), (3, "Completed", "Yes")]
    assert len(set(failing.containers)) == 1
    assert failing.plans == [None, CONTINUE.encode(), CONTINUE.encode()]
    assert len(node.prompts) == len(set(node.prompts)) == 3


async def test_what_was_handed_over_does_not_stay_between_two_attempts(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the operator had been killed between the start and taking back what the container has mounted."""
    monkeypatch.setattr(retry, "FIRST", 60.0)
    monkeypatch.setattr(Launcher, "take_back", lambda *_: None)
    taken_back = SessionFolder.take_back
    calls: list[SessionFolder] = []

    def later(folder: SessionFolder) -> None:
        calls.append(folder)
        if len(calls) > 1:
            taken_back(folder)

    monkeypatch.setattr(SessionFolder, "take_back", later)
    Failing(node, 1, 0)
    node.run(retryOn=["AgentFailed"])
    async with node.process():
        await node.until(lambda: reason_of(node.status()) == "Retrying", "the run is Retrying")
        await node.until(lambda: not (calls[0].secrets / "handed").exists(), "what was handed over is gone")
    assert len(calls) == 2


async def test_a_reason_that_is_not_named_is_final(node: Node) -> None:
    Failing(node, 1, 0)
    node.run(retryOn=["OutOfMemory", "ContainerLost"])
    async with node.process() as process:
        await node.cleared(process)
    assert reason_of(node.status()) == "AgentFailed"
    assert len(node.prompts) == 1


@pytest.mark.parametrize("limit", [0, 2])
async def test_the_limit_is_kept(node: Node, limit: int) -> None:
    Failing(node, *([1] * 9))
    node.run(retryOn=["AgentFailed"], backoffLimit=limit)
    async with node.process() as process:
        await node.cleared(process)
    assert reason_of(node.status()) == "AgentFailed"
    assert len(attempts(node)) == limit + 1


async def test_a_container_that_was_removed_is_created_again(node: Node) -> None:
    failing = Failing(node, 137, 0)
    node.run(retryOn=["ContainerLost"])
    async with node.process() as process:
        await node.reason("Retrying")
        [agent] = node.agents()
        node.fake.containers.pop(agent.id)
        await node.cleared(process)
    assert reason_of(node.status()) == "Completed"
    assert attempts(node) == [(1, "ContainerLost", "Unknown"), (2, "Completed", "Yes")]
    assert len(set(failing.containers)) == 2


async def test_an_operator_that_comes_later_goes_on(node: Node) -> None:
    Failing(node, 1, 0)
    node.run(retryOn=["AgentFailed"])
    async with node.process():
        await node.until(lambda: len(node.status().get("attempts", [])) == 1, "the first attempt")
    async with node.process() as process:
        await node.cleared(process)
    assert reason_of(node.status()) == "Completed"
    assert len(node.prompts) == len(set(node.prompts)) == 2


async def test_in_a_session_others_wait_until_the_run_is_through(node: Node) -> None:
    stage = Stage(node)
    play, tries = stage.supervise, list[int]()

    async def fails_once(inside: Inside) -> None:
        tries.append(1)
        if len(tries) == 1:
            stage.fails = {"postStart"}
        await play(inside)
        stage.fails = set()

    node.supervisor = fails_once
    async with node.process():
        stage.run("first", lifecycle={"onCreateCommand": ["install"], "postStart": ["begin"]}, retryOn=["HookFailed"])
        await node.reason("Retrying", "first")
        stage.run("second")
        await stage.idle(STORY)
    assert stage.sent == ["first", "second"]
    assert attempts(node, "first") == [(1, "HookFailed", "No"), (2, "Completed", "Yes")]
    assert sum(count for (_, hook), count in stage.hooks.items() if hook == "onCreateCommand") == 1


async def test_what_it_used_is_the_sum_of_its_attempts(node: Node) -> None:
    Failing(node, 1, 0)
    node.run(retryOn=["AgentFailed"])
    async with node.process() as process:
        await node.cleared(process)
    status = node.status()
    assert status["usage"]["turns"] == sum(a["usage"]["turns"] for a in status["attempts"]) == 2


async def test_a_run_that_rests_gives_its_place_to_others_and_takes_one_again(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a node on which one run is at work at a time: also its next attempt waits until there is room."""
    monkeypatch.setattr(retry, "FIRST", 0.3)
    node.settings = node.settings.model_copy(update={"max_runs": 1})
    at_work: set[str] = set()
    failed: list[str] = []
    go_on = asyncio.Event()

    async def play(inside: Inside) -> None:
        owner = inside.container.labels[naming.OWNER]
        at_work.add(owner)
        assert len(at_work) == 1
        if owner == first and not failed:
            failed.append(owner)
            at_work.discard(owner)
            node.answer(inside, code=1)
            return
        if owner != first:
            await go_on.wait()
        at_work.discard(owner)
        node.answer(inside)

    node.agent = play
    first = node.run("first", retryOn=["AgentFailed"])["metadata"]["uid"]
    async with node.process() as process:
        await node.reason("Retrying", "first")
        second = node.run("second")["metadata"]["uid"]
        await node.until(lambda: second in at_work, "the second is at work")
        await node.reason("Queued", "first")
        go_on.set()
        await node.cleared(process)
    assert attempts(node, "first") == [(1, "AgentFailed", "Yes"), (2, "Completed", "Yes")]


async def test_the_answer_of_an_attempt_is_not_that_of_the_next(node: Node) -> None:
    Failing(node, 1, 137)
    node.run(retryOn=["AgentFailed"])
    async with node.process() as process:
        await node.reason("Retrying")
        assert node.status()["result"]["text"] == "forty-two"
        await node.cleared(process)
    assert reason_of(node.status()) == "ContainerLost"
    assert "result" not in node.status()


async def test_an_answer_that_the_status_cannot_hold_keeps_no_attempt_from_following(node: Node) -> None:
    Failing(node, 1, 0)
    node.run(retryOn=["AgentFailed"])
    async with node.process() as process:
        write = node.cluster.write_status

        async def full(run: Any, status: Any) -> Any:
            if "result" in status.wire and reason_of(status.wire) == "Retrying":
                raise Rejected("the API server refuses the status: it is too large")
            return await write(run, status)

        node.cluster.write_status = full  # type: ignore[assignment]
        await node.cleared(process)
    assert reason_of(node.status()) == "Completed"
    assert attempts(node) == [(1, "AgentFailed", "Yes"), (2, "Completed", "Yes")]


async def test_an_attempt_that_only_claims_to_have_ended_is_ended_before_the_next(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Podman cannot be asked, the records decide, which an agent can write."""
    monkeypatch.setattr(retry, "FIRST", 1.0)
    tries: list[int] = []

    async def claims(inside: Inside) -> None:
        tries.append(1)
        if len(tries) == 2:
            return node.answer(inside)
        (inside.out / "record").write_text("start 1.0\nbegin agent 0 1.0\nfinish 1 2.0\nend failed 1 0 2.0\n")
        return None

    node.agent = claims
    node.run(retryOn=["AgentFailed"], timeout="300ms")
    trouble = Trouble()
    async with node.process(trouble=trouble) as process:
        await node.until(lambda: bool(tries), "the agent is at work")
        trouble.matching = "."
        process.queue.wake(node.get()["metadata"]["uid"])
        await node.until(lambda: attempts_ended(node) == 1, "the first attempt counts as ended")
        trouble.matching = None
        await node.cleared(process)
    assert reason_of(node.status()) == "Completed"


async def test_while_it_waits_for_its_next_attempt_podman_may_be_away(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST", 600.0)
    passes, decide = list[int](), follow.decide

    def counted(*args: Any) -> follow.Action:
        passes.append(1)
        return decide(*args)

    monkeypatch.setattr(follow, "decide", counted)
    Failing(node, 1)
    node.run(retryOn=["AgentFailed"], timeout="300ms")
    trouble = Trouble()
    async with node.process(trouble=trouble):
        await node.reason("Retrying")
        trouble.matching = "."
        before = len(passes)
        await node.until(lambda: len(passes) > before + 3, "it was looked at a few times")
        assert reason_of(node.status()) == "Retrying"
        trouble.matching = None
