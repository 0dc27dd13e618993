"""What is known of finished runs, and when they ended, whatever is done to the wall clock."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stromboli.grammar import times
from stromboli.kube import objects
from stromboli.models.run import Run, RunStatus
from stromboli.perform.history import Clock, History

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
HOUR = 3600.0


class Clocks:
    """A machine's two clocks; the wall clock can be set."""

    def __init__(self) -> None:
        self.wall, self.steady = START.timestamp(), 1000.0
        self.clock = Clock(lambda: self.wall, lambda: self.steady)

    def wait(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.wall, UTC)


def run(uid: str, completed: datetime | None, *, version: int = 1, node: str = "node-a", **more: Any) -> Run:
    status: dict[str, Any] = {"node": node, "conditions": [{"type": "Succeeded", "status": "True"}]}
    if completed is not None:
        status["completionTime"] = times.to_micro(completed)
    metadata = {"uid": uid, "namespace": "space", "name": f"run-{uid}", "resourceVersion": str(version)}
    metadata |= more.pop("metadata", {})
    return objects.run({"metadata": metadata, "spec": more, "status": status})


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def history(clocks: Clocks) -> History:
    return History("node-a", clocks.clock)


def ended(history: History) -> dict[str, float]:
    return {one.uid: one.ended for one in history.of("space")}


def test_what_is_known_of_a_run(history: History, clocks: Clocks) -> None:
    history.ended(run("a", START - timedelta(seconds=10), version=7, ttlSecondsAfterFinished=60))
    (one,) = history.of("space")
    assert (one.uid, one.name, one.version, one.ttl, one.ours) == ("a", "run-a", "7", 60, True)
    assert one.ended == 990.0
    assert history.news.is_set()
    assert history.take_changed() == {"space"}
    assert not history.news.is_set()
    assert history.take_changed() == set()
    assert history.has(one)


def test_the_same_again_is_no_news(history: History, clocks: Clocks) -> None:
    history.ended(run("a", START))
    history.take_changed()
    clocks.wait(60.0)
    history.ended(run("a", START))
    assert history.take_changed() == set()


def test_a_change_of_its_time_to_live_is_news(history: History, clocks: Clocks) -> None:
    history.ended(run("a", START))
    history.take_changed()
    (before,) = history.of("space")
    history.ended(run("a", START, version=2, ttlSecondsAfterFinished=0))
    assert history.take_changed() == {"space"}
    assert [one.ttl for one in history.of("space")] == [0]
    assert not history.has(before)


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_wall_clock_that_is_set_changes_nothing_for_known_runs(history: History, clocks: Clocks, jump: float) -> None:
    history.ended(run("a", START))
    clocks.wait(10.0)
    clocks.wall += jump
    history.ended(run("a", START, version=2))
    history.ended(run("b", clocks.now()))
    assert ended(history) == {"a": 1000.0, "b": 1010.0}
    clocks.wait(5.0)
    history.ended(run("c", clocks.now()))
    assert ended(history)["c"] == 1015.0


def test_a_new_operator_knows_only_what_the_wall_clock_says(clocks: Clocks) -> None:
    """After a jump ahead, a run seems to have ended an hour earlier; one that seems to end later ends now."""
    new = History("node-a", clocks.clock)
    new.ended(run("a", START - timedelta(hours=1)))
    new.ended(run("b", START + timedelta(hours=1)))
    assert ended(new) == {"a": 1000.0 - HOUR, "b": 1000.0}


def test_two_that_ended_at_the_same_time_have_the_same_moment(history: History, clocks: Clocks) -> None:
    """The wall clock is slewed a little all the time."""
    history.ended(run("a", START))
    clocks.wait(10.0)
    clocks.wall += 0.3
    history.ended(run("b", START))
    assert ended(history)["a"] == ended(history)["b"]


def test_one_that_is_gone_is_forgotten(history: History) -> None:
    history.ended(run("a", START))
    history.ended(run("b", START))
    history.take_changed()
    history.gone("a")
    history.gone("a")
    history.gone("never known")
    assert history.take_changed() == {"space"}
    assert (len(history), history.namespaces(), history.knows("a")) == (1, {"space"}, False)
    history.gone("b")
    assert (len(history), history.namespaces(), history.of("space")) == (0, set(), ())


def test_one_that_is_being_deleted_is_none_of_them(history: History) -> None:
    history.ended(run("a", START))
    history.ended(run("a", START, version=2, metadata={"deletionTimestamp": "2026-01-31T12:00:00Z"}))
    assert len(history) == 0


HOOK = {"url": "https://example.com"}


@pytest.mark.parametrize(
    ("fields", "notification", "held"),
    [
        ({}, {}, False),
        ({"notify": HOOK}, {}, True),
        ({"notify": HOOK}, {"attempts": 1, "nextAttemptTime": times.to_micro(START)}, True),
        ({"notify": HOOK}, {"attempts": 1, "deliveryTime": times.to_micro(START)}, False),
        ({"notify": HOOK}, {"attempts": 1, "lastError": "given up"}, False),
    ],
)
def test_one_that_is_to_be_reported_is_held_for_a_day(
    history: History, fields: dict[str, Any], notification: dict[str, Any], held: bool
) -> None:
    obj = run("a", START, ttlSecondsAfterFinished=0, **fields)
    history.ended(replace(obj, status=RunStatus({**obj.status.wire, "notification": notification})))
    (one,) = history.of("space")
    assert one.held == (one.ended + 24 * HOUR + 60.0 if held else -math.inf)


def test_that_it_was_reported_is_news(history: History) -> None:
    obj = run("a", START, notify=HOOK)
    history.ended(obj)
    history.take_changed()
    history.ended(replace(obj, status=RunStatus({**obj.status.wire, "notification": {"deliveryTime": "2026-01-31"}})))
    assert history.take_changed() == {"space"}


def test_one_without_a_time_is_never_deleted(history: History) -> None:
    history.ended(run("a", None))
    assert len(history) == 0


@pytest.mark.parametrize(
    "written", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-W05", "x", "", "5"]
)
def test_whatever_a_status_says_of_its_end_does_no_harm(history: History, written: str) -> None:
    obj = run("a", START)
    history.ended(replace(obj, status=RunStatus({**obj.status.wire, "completionTime": written})))
    assert all(one.ended <= 1000.0 for one in history.of("space"))


@pytest.mark.parametrize(("node", "ours"), [("node-a", True), ("node-b", False), ("", True)])
def test_whose_a_run_is(history: History, node: str, ours: bool) -> None:
    history.ended(run("a", START, node=node))
    assert [one.ours for one in history.of("space")] == [ours]


@pytest.mark.parametrize("ttl", [-1, True, "5", None, 1.5])
def test_a_time_to_live_that_is_none(history: History, ttl: object) -> None:
    """The API server refuses these; one that was stored before there was such a rule deletes nothing."""
    history.ended(run("a", START, ttlSecondsAfterFinished=ttl))
    assert [one.ttl for one in history.of("space")] == [None]


def test_a_thousand_runs_take_little_memory(history: History) -> None:
    made = [run(f"{n:08}-1111-4111-8111-111111111111", START, prompt="x" * 10_000) for n in range(1000)]
    tracemalloc.start()
    try:
        for one in made:
            history.ended(one)
        made.clear()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 500 * 1000
