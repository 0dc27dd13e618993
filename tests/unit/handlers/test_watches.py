"""Who is looked at for which event: those whom it may concern, and nobody for the echo of our own write."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest

from stromboli.handlers.watches import Wakers, take, take_policy, take_session
from stromboli.models.reasons import Reason
from stromboli.store import Store
from tests.support.builders import Modifier, Object, at, at_version, having, of_uid, run

GOING = "2026-01-31T12:00:00Z"


class Woken:
    """What the wakers of one event were told."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.sessions: list[str] = []
        self.store = Store()
        self.policies = 0
        self.wakers = Wakers(self.runs.append, self._all, self._session, self._policies, self._ending)

    def _all(self) -> None:
        self.runs.append("everybody")

    def _session(self, obj: Mapping[str, Any]) -> None:
        self.sessions.append(obj["metadata"]["uid"])

    def _policies(self) -> None:
        self.policies += 1

    async def _ending(self) -> None:
        raise AssertionError("this is not the end")

    def run(self, how: str | None, obj: Object) -> list[str]:
        self.runs.clear()
        take(self.store, self.wakers, how, obj)
        return sorted(self.runs)

    def session(self, how: str | None, obj: Object) -> list[str]:
        self.runs.clear()
        take_session(self.store, self.wakers, how, obj)
        return sorted(self.runs)


@pytest.fixture
def woken() -> Woken:
    return Woken()


def wanting(uid: str, *modifiers: Modifier, session: str = "s", **more: str) -> Object:
    return run(of_uid(uid), having(session={"name": session, **more}), *modifiers)


def a_session(uid: str = "session", name: str = "s", namespace: str = "team", holder: str | None = None) -> Object:
    obj: Object = {"metadata": {"name": name, "namespace": namespace, "uid": uid}, "spec": {}}
    return obj | ({"status": {"currentRun": {"name": holder, "uid": holder}}} if holder else {})


def being_deleted(obj: Object) -> Object:
    return {**obj, "metadata": obj["metadata"] | {"deletionTimestamp": GOING}}


def elsewhere(obj: Object) -> Object:
    return {**obj, "metadata": obj["metadata"] | {"namespace": "another"}}


@pytest.fixture
def queue(woken: Woken) -> Woken:
    """Three runs that want the session `s`, one of them as a fork's parent, and three that do not."""
    woken.run(None, wanting("holder"))
    woken.run(None, wanting("second"))
    woken.run(None, wanting("forking", session="copy", fork="s"))
    woken.run(None, wanting("other", session="t"))
    woken.run(None, elsewhere(wanting("far")))
    woken.run(None, run(of_uid("alone")))
    return woken


# --- runs ---


@pytest.mark.parametrize("how", [None, "ADDED", "MODIFIED"])
def test_a_run_is_looked_at_and_remembered(woken: Woken, how: str | None) -> None:
    assert woken.run(how, run(of_uid("a"))) == ["a"]
    assert woken.store.get("a") is not None


def test_the_echo_of_our_own_write_wakes_nobody(woken: Woken) -> None:
    woken.store.put(run(of_uid("a"), at_version(7)))
    assert woken.run("MODIFIED", run(of_uid("a"), at_version(7))) == []
    assert woken.run("MODIFIED", run(of_uid("a"), at_version(6))) == []
    assert woken.run("MODIFIED", run(of_uid("a"), at_version(8))) == ["a"]


@pytest.mark.parametrize("reason", [Reason.Completed, Reason.AgentFailed])
def test_one_that_has_ended_is_not_looked_at(queue: Woken, reason: Reason) -> None:
    assert "holder" not in queue.run("MODIFIED", wanting("holder", at_version(2), at(reason)))
    assert queue.run("MODIFIED", run(of_uid("alone"), at_version(2), at(reason))) == []


def test_one_that_has_ended_makes_room_even_if_it_never_had_the_session(queue: Woken) -> None:
    """Refused, say, while it stood first: no write of the session tells the others."""
    found = queue.run("MODIFIED", wanting("second", at_version(2), at(Reason.InvalidSpec)))
    assert "forking" in found
    assert "other" not in found


@pytest.mark.parametrize("how", ["DELETED", "MODIFIED"])
def test_a_deleted_run_wakes_its_sessions_queue(queue: Woken, how: str) -> None:
    obj = wanting("holder", at_version(2))
    assert queue.run(how, obj if how == "DELETED" else being_deleted(obj)) == ["forking", "holder", "second"]
    assert queue.store.is_deleted("holder")
    assert queue.store.get("holder") is None


def test_a_finished_run_that_is_deleted_is_a_deletion_too(queue: Woken) -> None:
    queue.run("DELETED", wanting("done", at(Reason.Completed)))
    assert queue.store.is_deleted("done")


def test_a_deleted_run_that_forks_wakes_its_parents_queue(queue: Woken) -> None:
    obj = wanting("forking", at_version(2), session="copy", fork="s")
    assert queue.run("DELETED", obj) == ["forking", "holder", "second"]


def test_a_deleted_run_without_a_session_wakes_only_itself(queue: Woken) -> None:
    assert queue.run("DELETED", run(of_uid("alone"))) == ["alone"]


# --- sessions ---


@pytest.mark.parametrize("how", [None, "ADDED", "MODIFIED"])
def test_a_session_wakes_all_that_want_it_and_itself(queue: Woken, how: str | None) -> None:
    assert queue.session(how, a_session()) == ["forking", "holder", "second"]
    assert queue.sessions == ["session"]
    assert not queue.store.is_deleted("session")


def test_who_has_it_is_not_woken_by_what_it_wrote_itself(queue: Woken) -> None:
    assert queue.session("MODIFIED", a_session(holder="holder")) == ["forking", "second"]
    assert queue.session("MODIFIED", a_session(holder="gone")) == ["forking", "holder", "second"]


def test_a_session_of_that_name_elsewhere_is_another(queue: Woken) -> None:
    assert queue.session("MODIFIED", a_session(namespace="another")) == ["far"]


@pytest.mark.parametrize("how", ["DELETED", "MODIFIED"])
def test_a_deleted_session_is_a_deletion_and_all_that_want_it_are_looked_at(queue: Woken, how: str) -> None:
    """Its holder as well, for it has lost what it runs in."""
    obj = a_session(holder="holder")
    told = copy.deepcopy(obj if how == "DELETED" else being_deleted(obj))
    assert queue.session(how, told) == ["forking", "holder", "second", "session"]
    assert queue.store.is_deleted("session")
    assert queue.sessions == [], "there is nothing to look after any more"


def test_one_of_the_same_name_that_comes_after_it_is_new(queue: Woken) -> None:
    queue.session("DELETED", a_session())
    assert queue.session("ADDED", a_session("next")) == ["forking", "holder", "second"]
    assert queue.sessions == ["next"]
    assert not queue.store.is_deleted("next")


# --- policies ---


def test_a_policy_that_says_something_new_wakes_everybody_and_a_write_of_its_status_does_not(woken: Woken) -> None:
    generations: dict[str, int] = {}

    def tell(how: str | None, generation: int) -> list[str]:
        woken.runs.clear()
        take_policy(generations, woken.wakers, how, {"metadata": {"uid": "p", "generation": generation}})
        return woken.runs

    assert tell(None, 1) == ["everybody"]
    assert tell("MODIFIED", 1) == []
    assert tell("MODIFIED", 2) == ["everybody"]
    assert tell("DELETED", 2) == ["everybody"]
    assert generations == {}
    assert woken.policies == 4
