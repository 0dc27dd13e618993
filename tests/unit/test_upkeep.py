"""What is done for a session whatever its runs do: its first condition, a turn that nobody has any more, its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from stromboli.errors import ClusterUnavailable, PodmanUnavailable
from stromboli.grammar import times
from stromboli.kube import objects
from stromboli.models.run import RunStatus
from stromboli.models.session import RunRef, Session, SessionStatus
from stromboli.node.jobs import Jobs
from stromboli.node.resting import Resting
from stromboli.observe.index import Index
from stromboli.perform.history import History
from stromboli.perform.sessions.assembly import Parts
from stromboli.perform.sessions.report import SessionReporter
from stromboli.perform.sessions.sizes import Sizes
from stromboli.perform.sessions.turns import Turns
from stromboli.perform.stacks.upkeep import StackUpkeep
from stromboli.reasons import ReadyReason, Reason
from stromboli.status import run as run_states
from stromboli.status import session as session_status
from stromboli.status.run import Moment
from stromboli.store import Store
from stromboli.upkeep import Upkeep
from tests.support.fake_cluster import FakeCluster
from tests.support.wire import ready_reason

SPACE, NAME, NODE = "space", "story", "node-a"
HOUR = 3600.0
Object = dict[str, Any]


class Vacated(Turns):
    """`Turns`, but for the end of a turn: of which session, and of whose."""

    def __init__(self) -> None:
        self.names: list[str] = []

    async def vacate(self, session: Session, run_uid: str) -> None:
        assert session.status.is_held_by(run_uid)
        self.names.append(session.name)


class Unmeasured(Resting):
    """`Resting`, as far as sizes go, without a Podman that says them."""

    def __init__(self) -> None:
        pass

    async def size(self, uid: str, image_id: str) -> int:
        raise PodmanUnavailable("Podman did not answer")


class NoStacks(StackUpkeep):
    """No session has a stack."""

    async def tend(self, session: Session) -> tuple[Session, float | None]:
        return session, None


class Scene:
    """One session, and this node's operator looking after it."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.vacated = Vacated()
        self.index = Index(self.cluster.session_outline, self.cluster.sessions)
        self.store = Store(lambda _: None, History("node-a"))
        reporter = SessionReporter(self.cluster, NODE)
        sizes = Sizes(Unmeasured(), reporter, Jobs(lambda _: None))
        none = cast(Any, None)
        parts = Parts(starts=none, turns=self.vacated, costs=none, forks=none, sizes=sizes, jobs=())
        self.upkeep = Upkeep(self.cluster, self.store, self.index, parts, NoStacks(none, none, none, none), reporter)
        self.uid = ""

    def session(self, *, age: float = 0.0, ttl: str | None = None, **status: Any) -> Object:
        """A session that was made so many seconds ago; it has been Available since, unless `status` says else."""
        made = self.cluster.add_session(SPACE, NAME, {"ttlAfterLastUse": ttl} if ttl else {})
        stored = self.cluster.all_sessions[SPACE, NAME]
        stored["metadata"]["creationTimestamp"] = ago(age)
        if status:
            stored["status"] = {
                **session_status.at(SessionStatus(), ReadyReason.Available, "no run is using it", now()).wire,
                **status,
            }
        self.uid = self.index.add(objects.head(made["metadata"]))
        return stored

    def held(self, name: str, uid: str, **status: Any) -> Object:
        return self.session(**status, **session_status.taken(SessionStatus(), RunRef(name, uid), now()).wire)

    def get(self) -> Any:
        return self.cluster.all_sessions.get((SPACE, NAME))

    def reason(self) -> str:
        return ready_reason(self.get().get("status") or {})

    async def reconcile(self) -> float | None:
        return await self.upkeep.reconcile(self.uid)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def now(node: str = NODE) -> Moment:
    return Moment(datetime.now(UTC), node, 1)


def ago(seconds: float) -> str:
    return times.to_text(datetime.now(UTC) - timedelta(seconds=seconds))


def about(seconds: float) -> Any:
    """Times on the wire are whole seconds, and the machine may be slow."""
    return pytest.approx(seconds, abs=5)


# --- its first condition ---


async def test_a_session_that_nobody_has_used_says_that_it_can_be(scene: Scene) -> None:
    scene.session()
    assert await scene.reconcile() is None
    assert scene.reason() == ReadyReason.Available
    assert scene.get()["status"]["node"] == NODE
    assert scene.get()["status"]["observedGeneration"] == 1


async def test_looking_twice_writes_once(scene: Scene) -> None:
    scene.session()
    await scene.reconcile()
    written = list(scene.cluster.writes)
    assert len(written) == 1
    for _ in range(3):
        assert await scene.reconcile() is None
    assert scene.cluster.writes == written


@pytest.mark.parametrize("age", [0.0, 9 * HOUR])
async def test_one_that_is_to_expire_says_first_that_it_is_there(scene: Scene, age: float) -> None:
    scene.session(age=age, ttl="1h")
    await scene.reconcile()
    assert scene.reason() == ReadyReason.Available


# --- a turn that was never given back ---


async def test_who_is_at_work_keeps_it(scene: Scene) -> None:
    run = scene.cluster.add_run(SPACE, "first", {})
    scene.held("first", run["metadata"]["uid"])
    assert await scene.reconcile() is None
    assert scene.vacated.names == []


def gone(_: Object) -> Object | None:
    return None


def of_another_uid(run: Object) -> Object:
    return {**run, "metadata": run["metadata"] | {"uid": "another"}}


def finished(run: Object) -> Object:
    return {**run, "status": run_states.at(RunStatus(), Reason.Completed, "done", now()).wire}


def being_deleted(run: Object) -> Object:
    return {**run, "metadata": run["metadata"] | {"deletionTimestamp": ago(0)}}


@pytest.mark.parametrize("become", [gone, of_another_uid, finished, being_deleted])
async def test_who_is_no_more_has_it_no_more(scene: Scene, become: Callable[[Object], Object | None]) -> None:
    run = scene.cluster.add_run(SPACE, "first", {})
    scene.held("first", run["metadata"]["uid"])
    left = become(run)
    scene.cluster.objects = {(SPACE, "first"): left} if left is not None else {}
    assert await scene.reconcile() is None
    assert scene.vacated.names == [NAME]


async def test_a_run_of_that_name_elsewhere_is_another(scene: Scene) -> None:
    run = scene.cluster.add_run("elsewhere", "first", {})
    scene.held("first", run["metadata"]["uid"])
    await scene.reconcile()
    assert scene.vacated.names == [NAME]


async def test_while_nobody_can_tell_nothing_is_taken_away(scene: Scene) -> None:
    scene.held("first", "uid")
    scene.cluster.away = True
    with pytest.raises(ClusterUnavailable):
        await scene.reconcile()
    assert scene.vacated.names == []


# --- its time to live ---


async def test_it_lives_on_without_one(scene: Scene) -> None:
    scene.session(age=1e6, lastUsed=ago(1e6))
    assert await scene.reconcile() is None
    assert scene.cluster.writes == []


async def test_it_is_looked_at_again_when_it_is_to_end(scene: Scene) -> None:
    scene.session(age=9 * HOUR, ttl="1h", lastUsed=ago(600))
    assert await scene.reconcile() == about(HOUR - 600)
    assert scene.reason() == ReadyReason.Available


async def test_one_that_was_never_used_counts_from_its_creation(scene: Scene) -> None:
    scene.session(age=600, ttl="1h", runs=0)
    assert await scene.reconcile() == about(HOUR - 600)


@pytest.mark.parametrize("used", [{"lastUsed": ago(2 * HOUR)}, {"runs": 0}], ids=["used", "unused"])
async def test_its_end_is_written_down_first_and_then_it_goes(scene: Scene, used: Object) -> None:
    scene.session(age=3 * HOUR, ttl="1h30m", **used)
    told: list[tuple[str, str]] = []
    scene.cluster.listeners.append(lambda how, obj: told.append((how, ready_reason(obj["status"]))))
    assert await scene.reconcile() is None
    assert told == [("MODIFIED", ReadyReason.Expired), ("DELETED", ReadyReason.Expired)]
    assert scene.get() is None
    assert await scene.reconcile() is None, "what is gone is looked at no more"


async def test_it_does_not_end_while_it_is_used(scene: Scene) -> None:
    run = scene.cluster.add_run(SPACE, "first", {})
    scene.held("first", run["metadata"]["uid"], age=9 * HOUR, ttl="1h")
    scene.get()["status"]["lastUsed"] = ago(5 * HOUR)
    assert await scene.reconcile() is None
    assert scene.reason() == ReadyReason.InUse


async def test_a_run_that_comes_at_its_end_has_it(scene: Scene) -> None:
    """Whoever writes first: the run's write makes that of the end void."""
    scene.session(age=3 * HOUR, ttl="1h", lastUsed=ago(2 * HOUR))
    run = scene.cluster.add_run(SPACE, "first", {})

    def take() -> None:
        stored = scene.get()
        ref = RunRef("first", run["metadata"]["uid"])
        stored["status"] = session_status.taken(SessionStatus.of(stored["status"]), ref, now()).wire

    first_write(scene.cluster, take)
    assert await scene.reconcile() == 0.0, "tried again at once"
    assert scene.get() is not None
    assert await scene.reconcile() is None
    assert scene.reason() == ReadyReason.InUse


async def test_a_change_that_is_none_of_ours_is_written_past(scene: Scene) -> None:
    scene.session()
    first_write(scene.cluster, lambda: scene.get()["metadata"].update(annotations={"by": "hand"}))
    assert await scene.reconcile() is None
    assert scene.reason() == ReadyReason.Available
    assert scene.get()["metadata"]["annotations"] == {"by": "hand"}


async def test_killed_before_it_went_it_goes_at_the_next_look(scene: Scene) -> None:
    scene.session(age=3 * HOUR, ttl="1h", lastUsed=ago(2 * HOUR))

    @asynccontextmanager
    async def dead(call: str) -> AsyncIterator[None]:
        if call == "delete session":
            raise ClusterUnavailable("killed")
        yield

    guard, scene.cluster.guard = scene.cluster.guard, dead
    with pytest.raises(ClusterUnavailable):
        await scene.reconcile()
    assert scene.reason() == ReadyReason.Expired
    scene.cluster.guard = guard
    await scene.reconcile()
    assert scene.get() is None


async def test_one_that_was_to_go_and_may_stay_after_all_can_be_used(scene: Scene) -> None:
    """Its end was written down, the operator killed, and then somebody gave it more time."""
    stored = scene.session(ttl="100h", lastUsed=ago(2 * HOUR))
    expired = session_status.at(
        SessionStatus.of(stored["status"]), ReadyReason.Expired, "not used for 1h: it is deleted", now()
    )
    stored["status"] = expired.wire
    await scene.reconcile()
    assert scene.get() is None or scene.reason() == ReadyReason.Available


# --- whose it is ---


@pytest.mark.parametrize("status", [{"currentRun": {"name": "first", "uid": "gone"}}, {"lastUsed": ago(9 * HOUR)}])
async def test_another_nodes_is_left_alone(scene: Scene, status: Object) -> None:
    scene.session(age=9 * HOUR, ttl="1h", **status, node="node-b")
    assert await scene.reconcile() is None
    assert scene.cluster.writes == scene.vacated.names == []
    assert scene.get() is not None


async def test_what_is_being_deleted_is_left_to_its_end(scene: Scene) -> None:
    scene.held("first", "gone")["metadata"]["deletionTimestamp"] = ago(0)
    assert await scene.reconcile() is None
    assert scene.cluster.writes == scene.vacated.names == []


async def test_the_next_of_that_name_is_another(scene: Scene) -> None:
    scene.session()
    before = scene.uid
    del scene.cluster.all_sessions[SPACE, NAME]
    scene.session()
    assert await scene.upkeep.reconcile(before) is None
    assert scene.cluster.writes == []
    await scene.reconcile()
    assert scene.reason() == ReadyReason.Available


async def test_one_that_nobody_told_of_is_looked_for(scene: Scene) -> None:
    assert await scene.upkeep.reconcile("unknown") is None
    uid = scene.cluster.add_session(SPACE, NAME, {})["metadata"]["uid"]
    await scene.upkeep.reconcile(uid)
    assert scene.reason() == ReadyReason.Available


def first_write(cluster: FakeCluster, change: Callable[[], None]) -> None:
    """Somebody changes the session just before the next write of it."""
    guard = cluster.guard

    @asynccontextmanager
    async def between(call: str) -> AsyncIterator[None]:
        if call == "put session":
            cluster.guard = guard
            change()
            session = cluster.all_sessions[SPACE, NAME]
            session["metadata"]["resourceVersion"] += "0"
        yield

    cluster.guard = between
