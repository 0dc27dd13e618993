"""Runs that are held back while something is prepared for them, or while others are concerned."""

from __future__ import annotations

import pytest

from stromboli.reasons import Reason
from tests.support.wire import reason_of
from tests.unit.reconcile.conftest import SPACE, Inside, Node, elsewhere
from tests.unit.reconcile.faults import Killer
from tests.unit.reconcile.stacked import Stacked
from tests.unit.reconcile.stage import STORY, Stage

COPY = "copy"
COMMIT = "POST /commit"


def suspend(node: Node, suspended: bool, name: str = "run") -> None:
    node.cluster.change_spec(SPACE, name, suspend=suspended)


async def test_a_run_that_was_never_started_belongs_to_no_node(node: Node) -> None:
    """Its session may be on another one than that whose operator saw it first."""
    stage = Stage(node)
    with elsewhere(node, "node-b") as other:
        async with node.process(settings=other):
            stage.run("first")
            await stage.idle()
        async with node.process():
            stage.run("second", suspend=True)
            await node.reason(Reason.Suspended, "second")
            assert "node" not in node.status("second")
            suspend(node, False, "second")
        async with node.process(settings=other):
            await stage.idle()
    assert stage.sent == ["first", "second"]


async def test_the_copy_for_a_fork_that_is_held_back_is_broken_off(node: Node) -> None:
    stage = Stage(node)
    async with node.process(killer := Killer()):
        stage.run("first")
        await stage.idle()
        killer.held = COMMIT
        uid = node.run("forked", session={"name": COPY, "fork": STORY})["metadata"]["uid"]
        stage.names[uid] = "forked"
        await node.until(lambda: COMMIT in killer.calls, "the copy has begun")
        suspend(node, True, "forked")
        await node.reason(Reason.Suspended, "forked")
        killer.held = None
        await stage.free(STORY)
        stage.run("second")
        await node.finished("second")
        suspend(node, False, "forked")
        await stage.idle(COPY)
    assert stage.sent == ["first", "second", "forked"]
    assert reason_of(node.status("forked")) == Reason.Completed


@pytest.mark.parametrize("session", [None, STORY])
async def test_the_services_of_a_run_that_is_held_back_are_not_started(
    node: Node, monkeypatch: pytest.MonkeyPatch, session: str | None
) -> None:
    stage = Stacked(node, monkeypatch)
    stage.healthy.clear()
    async with node.process():
        uid = stage.up(session=session)
        await node.until(lambda: stage.running() == {"db", "cache"}, "two services run, and one never gets healthy")
        suspend(node, True)
        await node.reason(Reason.Suspended)
        stage.healthy.add("db")
        if session is None:
            assert [left for left in stage.left(uid) if not left.startswith("sessions/")] == []
        assert "app" not in stage.running()
        suspend(node, False)
        await node.finished()
    assert reason_of(node.status()) == Reason.Completed, node.message()


async def test_a_run_is_held_back_before_another_attempt_that_would_follow_by_itself(node: Node) -> None:
    starts: list[int] = []

    async def once_cut_short(inside: Inside) -> None:
        starts.append(1)
        if len(starts) == 1:
            suspend(node, True)
            inside.end(137)
        else:
            await node.supervise(inside)

    node.supervisor = once_cut_short
    node.run()
    async with node.process() as process:
        await node.reason(Reason.Suspended)
        await node.until(process.is_idle, "nothing is to be done")
        assert len(starts) == 1
        suspend(node, False)
        await node.cleared(process)
    assert reason_of(node.status()) == Reason.Completed
    assert len(starts) == 2


@pytest.mark.parametrize("at", ["put session", "put status", "/start"])
async def test_one_that_is_let_go_as_a_later_one_begins_is_next(node: Node, at: str) -> None:
    """It is ahead in the queue, and the other one has the session."""
    stage, resumed = Stage(node), list[str]()
    killer = Killer()

    def before(_: int) -> None:
        if killer.calls[-1].endswith(at) and len(stage.names) == 2 and not resumed:
            resumed.append(at)
            suspend(node, False, "first")

    async with node.process(killer):
        stage.run("first", suspend=True)
        await node.reason(Reason.Suspended, "first")
        killer.before = before
        stage.run("second")
        await stage.idle()
    assert resumed
    assert sorted(stage.sent) == ["first", "second"]
    assert [reason_of(node.status(name)) for name in ("first", "second")] == [Reason.Completed] * 2
