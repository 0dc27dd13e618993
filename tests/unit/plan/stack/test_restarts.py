"""What happens when a service has ended while its stack is in use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli import backoff
from stromboli.plan.stack import restarts
from stromboli.plan.stack.restarts import LOOP, STEADY, End, Restart, Stay, decide

QUICK = 1.0


@pytest.mark.parametrize("restart", [None, "no", "on-failure", "on-failure:3"])
@pytest.mark.parametrize("one_shot", [False, True])
def test_work_that_is_done_stays_done(restart: str | None, one_shot: bool) -> None:
    assert decide(End(0, QUICK), restart, one_shot=one_shot) == Stay(completed=True)


@pytest.mark.parametrize("restart", [None, "no", "on-failure"])
def test_a_server_that_was_stopped_has_not_done_its_work(restart: str | None) -> None:
    assert decide(End(0, QUICK), restart, one_shot=False, serves=True) == Stay(completed=False)
    assert decide(End(0, QUICK), restart, one_shot=True, serves=True) == Stay(completed=True)


@pytest.mark.parametrize("restart", ["always", "unless-stopped"])
def test_what_is_to_run_always_is_started_again_unless_somebody_waits_for_its_end(restart: str) -> None:
    assert isinstance(decide(End(0, QUICK), restart, one_shot=False), Restart)
    assert decide(End(0, QUICK), restart, one_shot=True) == Stay(completed=True)


@pytest.mark.parametrize("restart", [None, "no", "always", "unless-stopped", "on-failure", "on-failure:1"])
@pytest.mark.parametrize("code", [1, 137, -1])
def test_a_service_that_died_is_started_again_whatever_the_file_says(restart: str | None, code: int) -> None:
    assert decide(End(code, 3600), restart, one_shot=False) == Restart(0.5, 1)


@pytest.mark.parametrize(
    ("restart", "tries"), [(None, 0), ("no", 0), ("on-failure:2", 2), ("on-failure", LOOP), ("on-failure:0", 0)]
)
def test_a_one_shot_that_fails_is_tried_again_as_often_as_it_says(restart: str | None, tries: int) -> None:
    crashes = 0
    for _ in range(tries):
        found = decide(End(1, QUICK, crashes), restart, one_shot=True)
        assert isinstance(found, Restart)
        crashes = found.crashes
    assert decide(End(1, QUICK, crashes), restart, one_shot=True) == Stay(completed=False)


def test_pauses_grow_and_are_bounded_and_a_loop_is_called_one() -> None:
    crashes = 0
    pauses: list[float] = []
    for n in range(1, 12):
        found = decide(End(1, QUICK, crashes), None, one_shot=False)
        assert isinstance(found, Restart)
        crashes = found.crashes
        pauses.append(found.after)
        assert bool(found.loop) is (n >= LOOP)
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30, 30]
    assert restarts.decide(End(3, QUICK, 4), None, one_shot=False) == Restart(
        8, 5, "ended 5 times in a row, each time within 10 s, the last time with exit code 3"
    )


def test_a_service_that_ran_for_a_while_begins_anew() -> None:
    assert decide(End(1, STEADY, 9), None, one_shot=False) == Restart(0.5, 1)


@given(st.integers(-1, 255), st.floats(0, 1e6), st.integers(0, 10**6), st.text(max_size=20), st.booleans())
def test_every_end_has_an_answer(code: int, lived: float, crashes: int, restart: str, one_shot: bool) -> None:
    found = decide(End(code, lived, crashes), restart, one_shot=one_shot)
    if isinstance(found, Restart):
        assert 0 < found.after <= backoff.MAX_DELAY


@pytest.mark.parametrize(
    ("restart", "asked"),
    [(None, False), ("no", False), ("always", True), ("unless-stopped", True), ("on-failure", True)],
)
def test_whether_a_restart_is_asked_for(restart: str | None, asked: bool) -> None:
    assert restarts.is_asked_for(restart) is asked
