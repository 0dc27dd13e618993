"""Named sessions: whose turn it is, and what becomes of the turn when a run, the session or the operator goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from datetime import UTC, datetime
from typing import Any

import pytest

from stromboli import naming, supervision, work_queue
from stromboli.errors import Waiting
from stromboli.models.run import RunStatus
from stromboli.models.session import RunRef, SessionStatus
from stromboli.observe.sessions import QUEUED_RECHECK, Queues
from stromboli.perform.history import History
from stromboli.reasons import ReadyReason, Reason
from stromboli.status import run as run_states
from stromboli.status import session as session_status
from stromboli.status.run import Moment
from stromboli.store import Store
from tests.support.wire import is_finished, reason_of
from tests.unit.reconcile.conftest import SPACE, Node, elsewhere
from tests.unit.reconcile.faults import Killer
from tests.unit.reconcile.stage import STORY, Stage

_as_it_is = supervision.set_within


@pytest.fixture(autouse=True)
def _patient_in_the_queue(_impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is in a queue is woken: its own looks come too late for these tests."""

    async def wait(event: asyncio.Event, seconds: float | None) -> None:
        queued = seconds is None or seconds >= QUEUED_RECHECK
        await _as_it_is(event, seconds if queued else min(seconds or 0.0, 0.01))

    monkeypatch.setattr(work_queue, "set_within", wait)


@pytest.fixture
def stage(node: Node) -> Stage:
    return Stage(node)


async def queued(stage: Stage, name: str, behind: str) -> None:
    """Until the run says so; whether it is told that it is the next depends on when it was looked at last."""
    messages = (
        f"behind the run {behind} in the queue of the session {STORY}",
        f"behind other runs in the queue of the session {STORY}",
    )

    def said() -> bool:
        return bool(stage.node.status(name)) and stage.node.message(name) in messages

    await stage.node.until(said, f"{name} is {' or '.join(messages)}")
    assert reason_of(stage.node.status(name)) == Reason.Queued


@contextmanager
def unreported(node: Node) -> Iterator[None]:
    """The watch does not report what happens inside the block."""
    listeners, node.cluster.listeners = node.cluster.listeners, []
    try:
        yield
    finally:
        node.cluster.listeners = listeners


# --- one at a time ---


async def test_one_at_a_time_and_the_others_say_behind_whom(node: Node, stage: Stage) -> None:
    names = ("first", "second", "third")
    stage.hold(*names)
    for name in names:
        stage.run(name)
    async with node.process():
        for at, name in enumerate(names):
            await stage.at_work(name)
            for waiting in names[at + 1 :]:
                await queued(stage, waiting, name)
            assert stage.sent == list(names[: at + 1])
            assert stage.status()["currentRun"]["name"] == name
            stage.let(name)
        status = await stage.idle()
    assert {node.status(name)["phase"] for name in names} == {"Succeeded"}
    assert status["runs"] == 3
    assert stage.conditions() == {"Ready": ("True", ReadyReason.Available)}
    [container] = node.agents()
    assert (container.id, container.status) == (status["containerID"], "exited")


@pytest.mark.parametrize("hidden", [0, 1, 2])
async def test_a_run_that_the_watch_does_not_report_is_not_overtaken(node: Node, stage: Stage, hidden: int) -> None:
    names = [f"run-{number}" for number in range(4)]
    stage.hold("first")
    stage.run("first")
    async with node.process():
        await stage.at_work("first")
        for number, name in enumerate(names):
            with unreported(node) if number == hidden else nullcontext():
                stage.run(name)
        await queued(stage, names[-1], "any")
        stage.let("first")
        await stage.idle()
    assert stage.sent == ["first", *names]


async def test_what_was_listed_once_is_not_listed_for_those_behind_and_a_newer_run_is_behind_them(
    node: Node, stage: Stage
) -> None:
    names = [f"run-{number}" for number in range(6)]
    stage.hold("run-1", "run-3")
    async with node.process():
        for name in names[:4]:
            stage.run(name)
        await stage.at_work("run-1")
        listed = node.cluster.asked.count(("run heads", SPACE, STORY))
        with unreported(node):
            stage.run(names[4])
        stage.let("run-1")
        await stage.at_work("run-3")
        assert node.cluster.asked.count(("run heads", SPACE, STORY)) == listed, "all ahead of them were in that list"
        stage.run(names[5])
        await queued(stage, names[5], "run-3")
        stage.let("run-3")
        await stage.idle()
    assert stage.sent == names


async def test_sessions_do_not_wait_for_each_other(node: Node, stage: Stage) -> None:
    stage.hold("first")
    stage.run("first")
    stage.run("second", session="another")
    async with node.process():
        await stage.at_work("first")
        await node.finished("second")
        stage.let("first")
        await stage.idle()
    assert len({uid for uid, _ in node.prompts}) == 2


async def test_an_operator_that_comes_back_keeps_their_order(node: Node, stage: Stage) -> None:
    """By creation, within one second, whatever was written since, and in whatever order they are listed."""
    names = [f"run-{n}" for n in range(5)]
    stage.hold("current")
    stage.run("current")
    async with node.process():
        await stage.at_work("current")
        for name in names:
            stage.run(name)
        for name in names:
            await queued(stage, name, "current")
    for name in names[:2]:
        node.cluster.change(SPACE, name, lambda obj: obj["metadata"].update(annotations={"by": "hand"}))
    node.cluster.objects = dict(reversed(node.cluster.objects.items()))
    stage.let("current")
    async with node.process():
        await stage.idle()
    assert stage.sent == ["current", *names]


# --- whoever goes ---


async def test_a_deleted_run_makes_room_for_the_next(node: Node, stage: Stage) -> None:
    stage.hold("first")
    first, second = stage.run("first"), stage.run("second")
    async with node.process():
        await stage.at_work("first")
        await queued(stage, "second", "first")
        node.cluster.delete_run(SPACE, "first")
        status = await stage.idle()
        uid = stage.session()["metadata"]["uid"]
        attempts = node.home() / "sessions" / uid / "attempts"
        await node.until(
            lambda: [p.name for p in attempts.iterdir()] == [f"{second}-1"], "of the deleted one nothing is left"
        )
    assert node.prompts == [(uid, f"{first}-1"), (uid, f"{second}-1")]
    assert node.status("second")["phase"] == "Succeeded"
    assert stage.conditions() == {"Ready": ("True", ReadyReason.Available)}
    assert [c.id for c in node.agents()] == [status["containerID"]], "the container is the session's"


class Late(Killer):
    """Has a run's calls about its session's container wait for `go_on`, from when the run is `over`."""

    def __init__(self, node: Node, uid: str) -> None:
        super().__init__()
        self.node, self.task = node, f"run {uid}"
        self.container = ""
        self.waits = asyncio.Event()

    @asynccontextmanager
    async def guard(self, call: str) -> AsyncIterator[None]:
        task = asyncio.current_task()
        if task is not None and task.get_name() == self.task and self.container in call and self.over():
            self.waits.set()
            await self.go_on.wait()
        async with super().guard(call):
            yield

    def over(self) -> bool:
        obj = self.node.cluster.objects.get((SPACE, "first"))
        return obj is None or is_finished(obj.get("status") or {})

    def is_through(self) -> bool:
        return all(task.get_name() != self.task for task in asyncio.all_tasks())


@pytest.mark.parametrize("deleted", [True, False], ids=["deleted", "ended"])
async def test_what_a_run_leaves_is_seen_to_before_the_next_or_without_harm_to_it(
    node: Node, stage: Stage, deleted: bool
) -> None:
    stage.hold("first", "second")
    late = Late(node, stage.run("first"))
    async with node.process(late):
        await stage.at_work("first")
        late.container = naming.agent(stage.session()["metadata"]["uid"]).name
        if deleted:
            node.cluster.delete_run(SPACE, "first")
        else:
            stage.let("first")
        await node.until(late.waits.is_set, "somebody sees to the container of the first")
        stage.run("second")
        for _ in range(100):  # it may well have to wait for that
            if "second" in stage.sent:
                break
            await asyncio.sleep(0.005)
        late.go_on.set()
        await node.until(late.is_through, "nothing more is to be done for the first")
        await stage.at_work("second")
        stage.let("second")
        await stage.idle()
    assert reason_of(node.status("second")) == Reason.Completed


async def test_a_fork_that_is_made_does_not_wait_for_its_parent_any_more(node: Node, stage: Stage) -> None:
    """Though its run names the parent, and was queued once."""

    def forking(name: str) -> None:
        stage.names[node.run(name, session={"name": "copy", "fork": STORY})["metadata"]["uid"]] = name

    stage.hold("busy", "second")
    node.cluster.add_session(SPACE, STORY, {"template": {"image": "python:3.12"}})
    async with node.process():
        forking("forking")
        await stage.idle("copy")
        stage.run("busy")
        stage.run("second", "copy")
        await stage.at_work("busy")
        await stage.at_work("second")
        forking("third")
        await node.until(lambda: reason_of(node.status("third")) == Reason.Queued, "it waits for the second")
        stage.let("second")
        await stage.at_work("third")
        assert node.status("busy")["phase"] == "Running"
        stage.let("busy")
        await stage.idle()


async def test_the_last_run_that_is_deleted_leaves_the_session_free(node: Node, stage: Stage) -> None:
    stage.hold("first")
    stage.run("first")
    async with node.process():
        await stage.at_work("first")
        node.cluster.delete_run(SPACE, "first")
        await stage.idle()
    assert stage.conditions() == {"Ready": ("True", ReadyReason.Available)}
    assert [c.status for c in node.agents()] == ["exited"]


async def test_a_run_that_was_deleted_while_the_operator_was_down_has_the_turn_no_more(
    node: Node, stage: Stage
) -> None:
    stage.hold("first")
    stage.run("first")
    async with node.process():
        await stage.at_work("first")
    node.cluster.delete_run(SPACE, "first")
    stage.run("second")
    async with node.process() as process:
        await process.sweep.once()
        await stage.idle()
    assert stage.sent == ["first", "second"]


async def test_a_session_deleted_under_a_run_cancels_it_and_the_next_makes_another(node: Node, stage: Stage) -> None:
    stage.hold("first")
    stage.run("first")
    stage.run("second")
    async with node.process() as process:
        await stage.at_work("first")
        await queued(stage, "second", "first")
        before = stage.session()["metadata"]["uid"]
        await node.cluster.delete_session(SPACE, STORY)
        await node.finished("first")
        await process.sweep.once()
        await stage.idle()
        await node.until(lambda: not node.left(before), "nothing of the first session is left")
    assert reason_of(node.status("first")) == Reason.Canceled
    assert node.message("first") == f"its session {STORY} was deleted during the run"
    assert node.status("second")["phase"] == "Succeeded"
    after = stage.session()["metadata"]["uid"]
    assert after != before
    assert [c.labels[naming.OWNER] for c in node.agents()] == [after]
    conversations = [node.status(name)["session"]["claudeSessionID"] for name in ("first", "second")]
    assert len(set(conversations)) == 2


async def test_a_session_deleted_between_two_runs_leaves_nothing(node: Node, stage: Stage) -> None:
    stage.run("first")
    async with node.process():
        await stage.idle()
        uid = stage.session()["metadata"]["uid"]
        assert node.left(uid)
        await node.cluster.delete_session(SPACE, STORY)
        await node.until(lambda: not node.left(uid), "nothing of the session is left")
    assert node.status("first")["phase"] == "Succeeded"


# --- several operators ---


async def test_who_writes_second_does_not_have_it(node: Node, stage: Stage) -> None:
    """Another operator takes the session for its run between our look and our write."""
    killer = Killer()
    stage.run("first")
    other = RunRef("other", stage.run("other"))
    there = Moment(datetime.now(UTC), "node-b", 1)
    at_work = run_states.at(RunStatus(), Reason.Running, "at work", there)
    node.cluster.change(SPACE, "other", lambda o: o.update(status=at_work.wire))
    stolen: list[Any] = []

    def steal(_: int) -> None:
        if killer.calls[-1] != "put session" or stolen or "currentRun" in stage.session().get("status", {}):
            return
        session = stage.session()
        stolen.append(session["metadata"]["resourceVersion"])
        here = Moment(there.now, node.settings.node, 1)
        session["status"] = session_status.taken(SessionStatus.of(session.get("status")), other, here).wire
        session["metadata"]["resourceVersion"] += "0"

    killer.before = steal
    async with node.process(killer) as process:
        await queued(stage, "first", "other")
        assert stolen
        await process.sweep.once()
        assert stage.status()["currentRun"]["name"] == "other"
        assert stage.sent == []
        assert node.agents() == []
        done = run_states.at(RunStatus.of(node.status("other")), Reason.Completed, "done", there)
        node.cluster.change(SPACE, "other", lambda o: o.update(status=done.wire))
        session = await node.cluster.session(SPACE, STORY)
        assert session is not None
        await node.cluster.write_status(session, session_status.released(session.status, there))
        await stage.idle()
    assert stage.sent == ["first"]


async def test_two_operators_let_in_one_after_the_other(node: Node, stage: Stage) -> None:
    names = [f"run-{n}" for n in range(6)]
    with elsewhere(node, "node-b") as other:
        for name in names:
            stage.run(name)
        async with node.process(), node.process(settings=other):
            await stage.idle()
    assert sorted(stage.sent) == names, "each prompt once"
    assert {node.status(name)["phase"] for name in names} == {"Succeeded"}


async def test_a_turn_that_could_not_be_given_back_is_given_back_once_the_next_wants_it(
    node: Node, stage: Stage
) -> None:
    """The API server is away when the first run leaves the session."""
    stage.hold("first")
    stage.run("first")
    stage.run("second")
    failed: list[int] = []
    async with node.process() as process:

        def before(number: int) -> None:
            reads = process.killer.calls[number - 1] == "session"
            node.cluster.away = reads and not failed and is_finished(node.status("first"))
            failed.extend([number] * node.cluster.away)

        await stage.at_work("first")
        await queued(stage, "second", "first")
        process.killer.before = before
        stage.let("first")
        await stage.idle()
    assert failed
    assert stage.sent == ["first", "second"]


async def test_a_queued_run_that_has_the_turn_goes_on_although_another_is_ahead_of_it_by_now(
    node: Node, stage: Stage
) -> None:
    """With several API servers, one that was created earlier by its clock may be stored later."""
    node.cluster.add_session(SPACE, STORY, {"template": {"image": "python:3.12"}})
    uids = {name: stage.run(name) for name in ("later", "earlier")}
    for name, uid in uids.items():
        there = Moment(datetime.now(UTC), "", 1)
        status = run_states.at(RunStatus(), Reason.Queued, "behind other runs", there)
        ticket = {"session": {"name": STORY, "ticket": node.get(name)["metadata"]["resourceVersion"]}}
        node.get(name)["status"] = {**status.wire, **ticket}
        if name == "earlier":
            node.get(name)["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z"
        else:
            session = await node.cluster.session(SPACE, STORY)
            assert session is not None
            taken = session_status.taken(session.status, RunRef(name, uid), Moment(datetime.now(UTC), "node-a", 1))
            await node.cluster.write_status(session, taken)
    store = Store(lambda _: None, History("node-a"))
    found = {name: await node.cluster.run(SPACE, name) for name in uids}
    for run in found.values():
        assert run is not None
        store.put(run)
    queues = Queues(node.cluster, store)
    assert found["later"] is not None
    await queues.await_turn_again(found["later"])
    assert found["earlier"] is not None
    with pytest.raises(Waiting, match="behind the run later"):
        await queues.await_turn_again(found["earlier"])
