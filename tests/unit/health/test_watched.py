"""What is concluded from what watches hear: refused, silent, stuck; nothing of it at once."""

from __future__ import annotations

import pytest

from stromboli.health.watched import PATIENCE, SILENT, STUCK, Watched

RUNS, SESSIONS = "/apis/stromboli.dev/v1alpha1/agentruns", "/apis/stromboli.dev/v1alpha1/agentsessions"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watched(clock: Clock) -> Watched:
    return Watched(("agentruns", "agentsessions"), clock)


def problems(watched: Watched) -> tuple[str | None, str | None, str | None]:
    return watched.refused(), watched.silent(), watched.stuck()


def test_what_hears_something_is_well(watched: Watched, clock: Clock) -> None:
    for _ in range(20):
        clock.now += SILENT - 1
        watched.heard(RUNS)
        watched.heard(SESSIONS)
        assert problems(watched) == (None, None, None)


def test_a_refusal_counts_once_it_has_lasted_and_is_over_with_the_first_answer(watched: Watched, clock: Clock) -> None:
    watched.failed(RUNS, "403 Forbidden")
    clock.now += PATIENCE
    assert watched.refused() is None
    clock.now += 1
    watched.asked(RUNS)
    watched.failed(RUNS, "503 Service Unavailable")
    said = "agentruns cannot be watched for 16 s: 503 Service Unavailable"
    assert problems(watched) == (said, None, None)
    watched.heard(RUNS)
    assert problems(watched) == (None, None, None)


def test_an_hour_of_refusals_is_nothing_that_a_restart_cures(watched: Watched, clock: Clock) -> None:
    for _ in range(1200):
        clock.now += 3
        for path in (RUNS, SESSIONS):
            watched.asked(path)
            watched.failed(path, "403 Forbidden")
    assert watched.stuck() is None
    assert watched.refused() == "agentruns cannot be watched for 3597 s: 403 Forbidden"


def test_a_silent_watch_is_named(watched: Watched, clock: Clock) -> None:
    clock.now += SILENT + 1
    watched.heard(SESSIONS)
    assert problems(watched) == (None, "nothing was heard of agentruns for 151 s; the watch is begun anew", None)


def test_a_watch_that_tries_nothing_is_stuck(watched: Watched, clock: Clock) -> None:
    clock.now += STUCK + 1
    watched.asked(SESSIONS)
    assert watched.stuck() == "the watch of agentruns has done nothing for 301 s"
    watched.begin()
    assert problems(watched) == (None, None, None)


def test_what_concerns_no_kind_concerns_all(watched: Watched, clock: Clock) -> None:
    """kopf asks what there is before it watches anything."""
    watched.failed("/apis", "403 Forbidden")
    clock.now += STUCK
    watched.asked("/apis/stromboli.dev/v1alpha1")
    clock.now += 1
    assert watched.stuck() is None
    assert watched.refused() is not None
