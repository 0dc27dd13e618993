"""What a timeout should have ended and did not: agents and hooks that stop its timer, and frozen containers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stromboli.grammar import times
from stromboli.plan import follow
from tests.support.fake_cluster import Object
from tests.support.wire import reason_of
from tests.unit.reconcile.conftest import SPACE, Inside, Node, send
from tests.unit.reconcile.faults import Killer
from tests.unit.reconcile.stage import Stage


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "CALL_AFTER", 0.05)
    monkeypatch.setattr(follow, "KILL_AFTER", 0.2)


async def hangs(inside: Inside) -> None:
    """An agent that has killed the supervisor's timer."""


async def pauses(inside: Inside) -> None:
    """Somebody pauses the container, or the machine freezes it."""
    inside.container.status = "paused"


@pytest.mark.parametrize("agent", [hangs, pauses])
async def test_the_operator_ends_what_its_timer_has_not(node: Node, agent: Any) -> None:
    node.agent = agent
    uid = node.run(timeout="200ms")["metadata"]["uid"]
    async with node.process():
        await node.reason("Running")
        [container] = node.agents()
        await node.reason("TimedOut")
        await node.cleared()
    assert container.signals[0] == "USR1", "its supervisor is asked first, and gives a step its grace"
    assert container.signals[-1] == "KILL"
    assert node.prompts == [(uid, f"{uid}-1")]
    assert "longer than its timeout of 200ms; raise spec.timeout" in node.message()


async def test_hooks_that_stop_the_timer_are_not_repeated(node: Node) -> None:
    starts = 0

    async def supervisor(inside: Inside) -> None:
        nonlocal starts
        starts += 1
        (inside.out / "started").mkdir()

    node.supervisor = supervisor
    node.run(timeout="200ms", lifecycle={"postStart": ["pkill sh; sleep 600"]})
    async with node.process():
        await node.reason("TimedOut")
    assert starts == 1
    assert [a["promptSent"] for a in node.status()["attempts"]] == ["No"]


async def test_in_a_session_too_and_its_next_run_has_it(node: Node) -> None:
    stage = Stage(node)
    stage.hold("first")
    async with node.process():
        stage.run("first", timeout="200ms")
        await node.reason("TimedOut", "first")
        stage.run("second")
        await stage.idle()
    assert stage.sent == ["first", "second"]
    assert node.status("second")["phase"] == "Succeeded"


async def test_what_outlived_it_while_the_operator_was_away_has_timed_out(node: Node) -> None:
    async def agent(inside: Inside) -> None:
        inside.container.started = (datetime.now(UTC) - timedelta(seconds=45)).isoformat()
        node.answer(inside)

    node.agent = agent
    node.run(timeout="10s")

    def earlier(obj: Object) -> None:
        attempts: list[dict[str, Any]] = obj["status"]["attempts"]
        attempts[0]["startedAt"] = times.to_micro(datetime.now(UTC) - timedelta(seconds=46))

    killer = Killer()

    def die(number: int) -> None:
        if killer.calls[-1].endswith("/start"):
            killer.at, killer.after = number, True

    killer.before = die
    async with node.process(killer):
        await node.until(killer.dead.is_set, "the operator is killed")
    node.cluster.change(SPACE, "run", earlier)
    async with node.process():
        await node.reason("TimedOut")
    assert len(node.prompts) == 1


async def test_time_counts_from_the_start_and_not_from_what_was_written_ahead(node: Node) -> None:
    """The operator was away between the two; what it starts now has all of its time."""
    killer = Killer()

    def die(number: int) -> None:
        if killer.calls[-1] == "POST /containers/create" and node.status().get("attempts"):
            killer.at = number

    def earlier(obj: Object) -> None:
        attempts: list[dict[str, Any]] = obj["status"]["attempts"]
        attempts[0]["startedAt"] = times.to_micro(datetime.now(UTC) - timedelta(hours=1))

    killer.before = die
    node.run(timeout="10s")
    async with node.process(killer):
        await node.until(killer.dead.is_set, "the operator is killed")
    node.cluster.change(SPACE, "run", earlier)

    async def killed_by_hand(inside: Inside) -> None:
        inside.end(137)

    node.agent = killed_by_hand
    async with node.process():
        await node.reason("ContainerLost")
    assert len(node.prompts) == 1


async def test_a_prompt_that_was_sent_counts_as_such_when_it_was_killed_for_its_time(node: Node) -> None:
    async def supervisor(inside: Inside) -> None:
        (inside.out / "started").mkdir()
        send(inside.out)

    node.supervisor = supervisor
    node.run(timeout="200ms")
    async with node.process():
        await node.reason("TimedOut")
    assert [a["promptSent"] for a in node.status()["attempts"]] == ["Unknown"]


async def test_silence_counts_from_when_the_cli_could_write_and_not_from_the_start_of_the_hooks(node: Node) -> None:
    """Right after the prompt was sent, there is no output yet, not even an empty one."""
    looked = asyncio.Event()

    async def long_hooks(inside: Inside) -> None:
        await asyncio.sleep(1.2)  # longer than it may be silent
        await node.supervise(inside)

    async def late(inside: Inside) -> None:
        process.queue.wake(node.get()["metadata"]["uid"])
        await looked.wait()
        node.answer(inside)

    node.supervisor, node.agent = long_hooks, late
    node.run(progressTimeout="1s")
    async with node.process(killer := Killer()) as process:
        await node.until(lambda: bool(node.prompts), "the prompt is sent")
        calls = len(killer.calls)
        await node.until(lambda: len(killer.calls) > calls + 1, "the operator has looked since")
        looked.set()
        await node.cleared(process)
    assert reason_of(node.status()) == "Completed", node.message()
    assert not any(call.endswith("/kill") for call in killer.calls)
