"""The cache of unfinished runs: newer wins, ended ones go, deleted ones stay deleted."""

from __future__ import annotations

import random
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.kube import objects, outline
from stromboli.kube.outline import SMALL
from stromboli.models.run import Run
from stromboli.perform.history import History
from stromboli.reasons import Reason
from stromboli.store import Reported, Store
from tests.support.builders import UID, Modifier, at, at_version, having, of_uid, read, run

WOKEN: list[str] = []  # whom the stores have woken: nobody, where no run wants a session


def of_outline(*modifiers: Modifier) -> Run:
    return objects.run(outline.of(msgspec.json.encode(run(*modifiers))))


@pytest.fixture
def store() -> Store:
    return Store(WOKEN.append, History("node-a"))


def test_what_is_put_is_there(store: Store) -> None:
    obj = read()
    store.put(obj)
    assert store.get(UID) == obj
    assert len(store) == 1
    assert store.get("other") is None


def test_newer_wins(store: Store) -> None:
    store.put(read(at_version(9)))
    store.put(read(at_version(10), having(image="node:22")))
    found = store.get(UID)
    assert found is not None
    assert found.version == "10", "as numbers: as texts 9 would be newer"


def test_older_does_not_win(store: Store) -> None:
    newer = read(at_version(10), at(Reason.Running))
    store.put(newer)
    store.put(read(at_version(9)))
    assert store.get(UID) == newer


def test_of_two_of_one_version_the_last_stays(store: Store) -> None:
    """A status that our own write answered and the watch's word of it are the same."""
    store.put(read(at_version(10)))
    store.put(read(at_version(10), at(Reason.Running)))
    found = store.get(UID)
    assert found is not None
    assert found.status.reason == Reason.Running


@pytest.mark.parametrize("reason", [Reason.Completed, Reason.TimedOut])
def test_ended_ones_are_kept_no_longer(store: Store, reason: Reason) -> None:
    store.put(read(at_version(1)))
    store.put(read(at_version(2), at(reason)))
    assert store.get(UID) is None
    assert len(store) == 0


def test_an_ended_one_does_not_come_back_by_what_the_watch_tells_late(store: Store) -> None:
    store.put(read(at_version(7), at(Reason.Completed)))
    store.put(read(at_version(6), at(Reason.Running)))
    assert store.get(UID) is None
    assert len(store) == 0


def test_deleted_stays_deleted_until_forgotten(store: Store) -> None:
    store.put(read(at_version(1)))
    assert not store.is_deleted(UID)
    store.delete(UID)
    assert store.is_deleted(UID)
    store.put(read(at_version(2)))
    assert store.get(UID) is None
    assert len(store) == 0
    store.forget(UID)
    assert not store.is_deleted(UID)
    assert store.get(UID) is None


def test_forgetting_leaves_nothing(store: Store) -> None:
    store.put(read(at_version(50), having(session={"name": "s", "fork": "t"})))
    store.report(read(at_version(51)))
    store.delete(UID)
    store.forget(UID)
    assert not any(held for name, held in vars(store).items() if name not in ("_wake", "_finished", "_observer"))
    assert not any(len(one._namespaces) for one in store._finished if isinstance(one, History))


# --- what is heard of, and read later ---


def test_a_version_that_is_heard_of_is_to_be_read(store: Store) -> None:
    assert store.report(read(at_version(3)))
    assert store.unread(UID) == Reported("team", "a", 3)
    assert not store.has_read(read(at_version(3)))
    assert not store.report(read(at_version(3))), "told twice"
    assert store.report(read(at_version(4)))
    store.put(read(at_version(4)))
    assert store.unread(UID) is None
    assert store.has_read(read(at_version(3)))
    assert not store.report(read(at_version(4)))


def test_what_was_read_may_be_older_than_what_was_heard_of(store: Store) -> None:
    store.report(read(at_version(5)))
    store.put(read(at_version(4)))
    assert store.unread(UID) == Reported("team", "a", 5)


def test_a_deleted_one_is_not_heard_of_any_more(store: Store) -> None:
    store.report(read(at_version(5)))
    store.delete(UID)
    assert store.unread(UID) is None
    assert not store.report(read(at_version(6)))


# --- what is kept ---


def test_of_a_large_run_the_outline_is_kept(store: Store) -> None:
    fields = {"prompt": "x" * SMALL, "session": {"name": "s"}, "timeout": "5m", "env": [{"name": "A", "value": "a"}]}
    obj = read(having(**fields), at(Reason.Queued))
    store.put(obj)
    found = store.get(UID)
    assert found is not None
    assert found.spec == {"session": {"name": "s"}, "timeout": "5m"}
    assert replace(found, spec=obj.spec) == obj
    assert not found.is_whole


def test_the_outline_of_a_small_run_does_not_replace_it(store: Store) -> None:
    store.put(read())
    store.put(of_outline())
    found = store.get(UID)
    assert found is not None
    assert found.is_whole
    store.put(of_outline(at_version(2)))
    assert not (store.get(UID) or read()).is_whole


def of_session(uid: str, version: int, *modifiers: Modifier) -> Run:
    return read(of_uid(uid), at_version(version), having(session={"name": "s"}), *modifiers)


def test_all_runs_ahead_are_known_once_the_queue_was_listed(store: Store) -> None:
    """Those that were in the queue before the list: whoever came since may be ahead of another that came since."""
    places = []
    for n in (1, 2, 4):
        store.put(of_session(f"u{n}", n))
        places = store.queue("team", "s")
    assert not any(store.is_complete("team", "s", place) for place in places)
    store.completed("team", "s", places[:2])
    assert [store.is_complete("team", "s", place) for place in places] == [True, True, False]
    assert not store.is_complete("team", "other", places[0])
    store.completed("team", "s", places[:1])
    assert store.is_complete("team", "s", places[1]), "an older list says no less"
    for n in (1, 2, 4):
        store.delete(f"u{n}")
    assert not store.is_complete("team", "s", places[0]), "nothing is kept of an empty queue"
    store.completed("team", "s", places)
    assert not store.is_complete("team", "s", places[0])


def test_who_leaves_a_queue_wakes_the_next_unless_it_has_yet_to_give_its_turn_back() -> None:
    woken: list[str] = []
    store = Store(woken.append, History("node-a"))
    started = {"attempts": [{"number": 1}]}
    for n in (1, 2, 3, 4):
        store.put(of_session(f"u{n}", n))
    store.put(of_session("u1", 11, at(Reason.TimedOut)))
    assert woken == ["u2"]
    store.put(of_session("u2", 12, at(Reason.Completed), lambda obj: {**obj, "status": obj["status"] | started}))
    assert woken == ["u2"]
    store.put(of_session("u3", 13, at(Reason.Running), lambda obj: {**obj, "status": obj["status"] | started}))
    store.delete("u3")
    assert woken == ["u2", "u4"]


def test_finished_runs_are_told_of_and_so_are_those_that_are_gone() -> None:
    history = History("node-a")
    store = Store(WOKEN.append, history)
    store.put(read(at_version(1), at(Reason.Running)))
    assert len(history) == 0
    store.put(read(at_version(3), at(Reason.Completed), having(ttlSecondsAfterFinished=5)))
    store.put(read(at_version(2), at(Reason.Completed)))
    assert [(one.version, one.ttl) for one in history.of("team")] == [("3", 5)], "an older version says nothing"
    store.delete(UID)
    store.put(read(at_version(4), at(Reason.Completed)))
    assert len(history) == 0, "nor does one of a deleted run"


def test_a_queue_is_in_the_order_of_turns(store: Store) -> None:
    for n in (3, 1, 2):
        store.put(read(of_uid(f"u{n}"), at_version(n), having(session={"name": "s"})))
    store.put(read(of_uid("fork"), at_version(9), having(session={"name": "t", "fork": "s"})))
    assert [place.uid for place in store.queue("team", "s")] == ["u1", "u2", "u3", "fork"]
    assert [place.uid for place in store.queue("team", "t")] == ["fork"]
    assert store.queue("other", "s") == []


def test_what_was_never_there_can_be_deleted_and_forgotten(store: Store) -> None:
    store.delete("x")
    store.forget("x")
    store.forget("y")
    assert not store.is_deleted("x")


def test_each_object_is_its_own(store: Store) -> None:
    store.put(read(of_uid("a")))
    store.put(read(of_uid("b")))
    store.delete("a")
    assert store.get("b") is not None
    assert len(store) == 1


@pytest.mark.parametrize("version", ["", "x", "-1"])
def test_a_version_that_is_no_number_is_the_oldest(store: Store, version: str) -> None:
    store.put(read(at_version(1)))
    store.put(read(at_version(version), having(image="node")))
    found = store.get(UID)
    assert found is not None
    assert found.spec["image"] == "python:3.12"


@given(st.lists(st.integers(1, 20), min_size=1), st.randoms(use_true_random=False))
def test_in_whatever_order_they_come_the_newest_stays(versions: list[int], chance: random.Random) -> None:
    store = Store(WOKEN.append, History("node-a"))
    chance.shuffle(versions)
    for version in versions:
        store.put(read(at_version(version)))
    assert (store.get(UID) or read()).version == str(max(versions))
