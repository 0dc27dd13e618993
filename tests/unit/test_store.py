"""The cache of unfinished runs: newer wins, ended ones go, deleted ones stay deleted."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.models.reasons import Reason
from stromboli.store import Store
from tests.support.builders import UID, at, at_version, having, of_uid, run


@pytest.fixture
def store() -> Store:
    return Store()


def test_what_is_put_is_there(store: Store) -> None:
    obj = run()
    store.put(obj)
    assert store.get(UID) == obj
    assert len(store) == 1
    assert store.get("other") is None


def test_newer_wins(store: Store) -> None:
    store.put(run(at_version(9)))
    store.put(run(at_version(10), having(image="node:22")))
    found = store.get(UID)
    assert found is not None
    assert found["metadata"]["resourceVersion"] == "10", "as numbers: as texts 9 would be newer"


def test_older_does_not_win(store: Store) -> None:
    newer = run(at_version(10), at(Reason.Running))
    store.put(newer)
    store.put(run(at_version(9)))
    assert store.get(UID) == newer


def test_of_two_of_one_version_the_last_stays(store: Store) -> None:
    """A status that our own write answered and the watch's word of it are the same."""
    store.put(run(at_version(10)))
    store.put(run(at_version(10), at(Reason.Running)))
    found = store.get(UID)
    assert found is not None
    assert "status" in found


@pytest.mark.parametrize("reason", [Reason.Completed, Reason.TimedOut])
def test_ended_ones_are_kept_no_longer(store: Store, reason: Reason) -> None:
    store.put(run(at_version(1)))
    store.put(run(at_version(2), at(reason)))
    assert store.get(UID) is None
    assert len(store) == 0


def test_an_ended_one_does_not_come_back_by_what_the_watch_tells_late(store: Store) -> None:
    store.put(run(at_version(7), at(Reason.Completed)))
    store.put(run(at_version(6), at(Reason.Running)))
    assert store.get(UID) is None
    assert len(store) == 0


def test_deleted_stays_deleted_until_forgotten(store: Store) -> None:
    store.put(run(at_version(1)))
    assert not store.is_deleted(UID)
    store.delete(UID)
    assert store.is_deleted(UID)
    store.put(run(at_version(2)))
    assert store.get(UID) is None
    assert len(store) == 0
    store.forget(UID)
    assert not store.is_deleted(UID)
    assert store.get(UID) is None


def test_forgetting_leaves_nothing(store: Store) -> None:
    store.put(run(at_version(50)))
    store.delete(UID)
    store.forget(UID)
    assert all(not held for held in vars(store).values())


def test_what_was_never_there_can_be_deleted_and_forgotten(store: Store) -> None:
    store.delete("x")
    store.forget("x")
    store.forget("y")
    assert not store.is_deleted("x")


def test_each_object_is_its_own(store: Store) -> None:
    store.put(run(of_uid("a")))
    store.put(run(of_uid("b")))
    store.delete("a")
    assert store.get("b") is not None
    assert len(store) == 1


@pytest.mark.parametrize("version", ["", "x", "-1"])
def test_a_version_that_is_no_number_is_the_oldest(store: Store, version: str) -> None:
    store.put(run(at_version(1)))
    store.put(run(at_version(version), having(image="node")))
    found = store.get(UID)
    assert found is not None
    assert found["spec"]["image"] == "python:3.12"


def test_what_is_put_can_be_changed_outside_at_the_top(store: Store) -> None:
    obj = run()
    store.put(obj)
    obj["status"] = {"node": "x"}
    assert "status" not in (store.get(UID) or {})


@given(st.lists(st.integers(1, 20), min_size=1), st.randoms(use_true_random=False))
def test_in_whatever_order_they_come_the_newest_stays(versions: list[int], chance: random.Random) -> None:
    store = Store()
    chance.shuffle(versions)
    for version in versions:
        store.put(run(at_version(version)))
    assert (store.get(UID) or {})["metadata"]["resourceVersion"] == str(max(versions))
