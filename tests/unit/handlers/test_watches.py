"""Who is looked at for which event: those whom it may concern, and nobody for the echo of our own write."""

from __future__ import annotations

import copy

import pytest

from stromboli.handlers.watches import Wakers, take, take_policy, take_session
from stromboli.kube import objects
from stromboli.kube.objects import head
from stromboli.models.objects import Object as Head
from stromboli.perform.history import History
from stromboli.reasons import Reason
from stromboli.store import Reported, Store
from tests.support.builders import Modifier, Object, at, at_version, having, of_uid, read, run

GOING = "2026-01-31T12:00:00Z"


class Woken:
    """What the wakers of one event were told."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.sessions: list[str] = []
        self.store = Store(self.runs.append, History("node-a"))
        self.policies = 0
        self.wakers = Wakers(self.runs.append, self._all, self._session, self._image, self._policies, self._ending)

    def _all(self) -> None:
        self.runs.append("everybody")

    def _session(self, session: Head) -> None:
        self.sessions.append(session.uid)

    def _image(self, image: Head) -> None:
        raise AssertionError("no image is concerned")

    def _policies(self) -> None:
        self.policies += 1

    async def _ending(self) -> None:
        raise AssertionError("this is not the end")

    def run(self, how: str | None, obj: Object) -> list[str]:
        self.runs.clear()
        take(self.store, self.wakers, how, head(obj["metadata"]))
        return sorted(self.runs)

    def read(self, obj: Object) -> list[str]:
        """Somebody has read or written the run."""
        self.runs.clear()
        self.store.put(objects.run(obj))
        return sorted(self.runs)

    def session(self, how: str | None, obj: Object) -> list[str]:
        self.runs.clear()
        take_session(self.store, self.wakers, how, head(obj["metadata"]))
        return sorted(self.runs)


@pytest.fixture
def woken() -> Woken:
    return Woken()


def wanting(uid: str, *modifiers: Modifier, session: str = "s", **more: str) -> Object:
    return run(of_uid(uid), having(session={"name": session, **more}), *modifiers)


def a_session(uid: str = "session", name: str = "s", namespace: str = "team") -> Object:
    return {"metadata": {"name": name, "namespace": namespace, "uid": uid}, "spec": {}}


def being_deleted(obj: Object) -> Object:
    return {**obj, "metadata": obj["metadata"] | {"deletionTimestamp": GOING}}


def elsewhere(obj: Object) -> Object:
    return {**obj, "metadata": obj["metadata"] | {"namespace": "another"}}


@pytest.fixture
def queue(woken: Woken) -> Woken:
    """Three runs that want the session `s`, one of them as a fork's parent and one at work, and three that do not."""
    woken.read(wanting("current", at(Reason.Running)))
    woken.read(wanting("second", at(Reason.Queued)))
    woken.read(wanting("forking", session="copy", fork="s"))
    woken.read(wanting("other", session="t"))
    woken.read(elsewhere(wanting("far")))
    woken.read(run(of_uid("alone")))
    return woken


# --- runs ---


@pytest.mark.parametrize("how", [None, "ADDED", "MODIFIED"])
def test_a_run_is_looked_at_and_is_to_be_read(woken: Woken, how: str | None) -> None:
    assert woken.run(how, run(of_uid("a"))) == ["a"]
    assert woken.store.unread("a") == Reported("team", "a", 1)
    assert woken.store.get("a") is None


def test_the_echo_of_our_own_write_wakes_nobody(woken: Woken) -> None:
    woken.store.put(read(of_uid("a"), at_version(7)))
    assert woken.run("MODIFIED", run(of_uid("a"), at_version(7))) == []
    assert woken.run("MODIFIED", run(of_uid("a"), at_version(6))) == []
    assert woken.run("MODIFIED", run(of_uid("a"), at_version(8))) == ["a"]


@pytest.mark.parametrize("reason", [Reason.Completed, Reason.InvalidSpec])
def test_one_that_has_ended_makes_room_even_if_it_never_had_the_session(queue: Woken, reason: Reason) -> None:
    """Refused, say, while it stood first: no write of the session tells the others."""
    assert queue.read(wanting("second", at_version(2), at(reason))) == ["forking"]
    assert queue.read(run(of_uid("alone"), at_version(2), at(reason))) == []


def test_only_the_next_of_a_queue_is_looked_at(woken: Woken) -> None:
    """Else each that leaves would have all the others looked at."""
    for n in range(5):
        woken.read(wanting(f"{n:02}", at_version(n)))
    assert woken.session("MODIFIED", a_session()) == ["00"]
    assert woken.read(wanting("00", at_version(100), at(Reason.Completed))) == ["01"]


@pytest.mark.parametrize("how", ["DELETED", "MODIFIED"])
def test_a_deleted_run_wakes_its_sessions_queue(queue: Woken, how: str) -> None:
    obj = wanting("current", at_version(2))
    assert queue.run(how, obj if how == "DELETED" else being_deleted(obj)) == ["current", "forking"]
    assert queue.store.is_deleted("current")
    assert queue.store.get("current") is None


def test_a_finished_run_that_is_deleted_is_a_deletion_too(queue: Woken) -> None:
    queue.run("DELETED", wanting("done", at(Reason.Completed)))
    assert queue.store.is_deleted("done")


def test_a_deleted_run_that_forks_wakes_its_parents_queue(queue: Woken) -> None:
    obj = wanting("forking", at_version(2), session="copy", fork="s")
    assert queue.run("DELETED", obj) == ["forking", "second"]


def test_a_deleted_run_without_a_session_wakes_only_itself(queue: Woken) -> None:
    assert queue.run("DELETED", run(of_uid("alone"))) == ["alone"]


# --- sessions ---


@pytest.mark.parametrize("how", [None, "ADDED", "MODIFIED"])
def test_a_session_wakes_the_next_that_waits_for_it_and_itself(queue: Woken, how: str | None) -> None:
    """Whoever is at work in it does not wait."""
    assert queue.session(how, a_session()) == ["forking"]
    assert queue.sessions == ["session"]
    assert not queue.store.is_deleted("session")


def test_a_session_of_that_name_elsewhere_is_another(queue: Woken) -> None:
    assert queue.session("MODIFIED", a_session(namespace="another")) == ["far"]


@pytest.mark.parametrize("how", ["DELETED", "MODIFIED"])
def test_a_deleted_session_is_a_deletion_and_all_that_want_it_are_looked_at(queue: Woken, how: str) -> None:
    """Its current run as well, for it has lost what it runs in."""
    obj = a_session()
    told = copy.deepcopy(obj if how == "DELETED" else being_deleted(obj))
    assert queue.session(how, told) == ["current", "forking", "second", "session"]
    assert queue.store.is_deleted("session")
    assert queue.sessions == [], "there is nothing to look after any more"


def test_one_of_the_same_name_that_comes_after_it_is_new(queue: Woken) -> None:
    queue.session("DELETED", a_session())
    assert queue.session("ADDED", a_session("next")) == ["forking"]
    assert queue.sessions == ["next"]
    assert not queue.store.is_deleted("next")


# --- policies ---


def test_a_policy_that_says_something_new_wakes_everybody_and_a_write_of_its_status_does_not(woken: Woken) -> None:
    generations: dict[str, int] = {}

    def tell(how: str | None, generation: int) -> list[str]:
        woken.runs.clear()
        take_policy(generations, woken.wakers, how, head({"uid": "p", "generation": generation}))
        return woken.runs

    assert tell(None, 1) == ["everybody"]
    assert tell("MODIFIED", 1) == []
    assert tell("MODIFIED", 2) == ["everybody"]
    assert tell("DELETED", 2) == ["everybody"]
    assert generations == {}
    assert woken.policies == 4
