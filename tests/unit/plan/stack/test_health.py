"""Health checks: what is inherited from where, and states that are Docker's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.compose.stack import HealthCheck
from stromboli.plan.stack import health
from stromboli.plan.stack.health import Check, Health, Status, effective
from stromboli.plan.stack.image import ImageCheck

IMAGE = ImageCheck(("CMD", "redis-cli", "ping"), 5, 3, 7, 11, 2)


@pytest.mark.parametrize(
    ("stated", "image", "argv"),
    [
        (None, None, None),
        (None, IMAGE, ("redis-cli", "ping")),
        (HealthCheck(), IMAGE, ("redis-cli", "ping")),
        (HealthCheck(interval=1), None, None),
        (HealthCheck(("CMD", "true", "a b")), IMAGE, ("true", "a b")),
        (HealthCheck(("CMD-SHELL", "a && b")), None, ("/bin/sh", "-c", "a && b")),
        (HealthCheck(("NONE",)), IMAGE, None),
        (HealthCheck(("CMD-SHELL", "NONE")), None, ("/bin/sh", "-c", "NONE")),
        (None, ImageCheck(("NONE",)), None),
        (HealthCheck(interval=1), ImageCheck(("CMD-SHELL", "up")), ("/bin/sh", "-c", "up")),
        (HealthCheck(), ImageCheck(interval=3), None),
        (None, ImageCheck(("CMD",)), None),
        (None, ImageCheck(("curl", "localhost")), None),
        (HealthCheck(test=()), IMAGE, ("redis-cli", "ping")),
    ],
)
def test_what_is_run(stated: HealthCheck | None, image: ImageCheck | None, argv: tuple[str, ...] | None) -> None:
    check = effective(stated, image)
    assert (check and check.argv) == argv


def test_the_image_s_shell_runs_the_shell_form() -> None:
    check = effective(HealthCheck(("CMD-SHELL", "up")), None, ("/bin/bash", "-eo", "pipefail", "-c"))
    assert check is not None
    assert check.argv == ("/bin/bash", "-eo", "pipefail", "-c", "up")


def test_without_numbers_they_are_docker_s() -> None:
    assert effective(HealthCheck(("CMD", "x")), None) == Check(("x",), 30, 30, 3, 0, 5)


@pytest.mark.parametrize("name", ["interval", "timeout", "retries", "start_period", "start_interval"])
def test_each_number_is_inherited_by_itself(name: str) -> None:
    nine: dict[str, Any] = {name: 9}
    zero: dict[str, Any] = {name: 0}
    inherited = effective(HealthCheck(("CMD", "x")), IMAGE)
    assert inherited is not None
    assert inherited == Check(("x",), 5, 3, 7, 11, 2)
    assert effective(replace(HealthCheck(("CMD", "x")), **nine), IMAGE) == replace(inherited, **nine)
    # 0 is what is left out, as in moby
    assert effective(replace(HealthCheck(("CMD", "x")), **zero), IMAGE) == inherited


@dataclass
class Docker:
    """moby's monitor of one container, told in its own terms: a timer, and a state that a result changes."""

    check: Check
    started: float
    status: str = "starting"
    streak: int = 0

    def interval(self, now: float) -> float:
        if now - self.started >= self.check.start_period:
            return self.check.interval
        return self.check.start_interval if self.status == "starting" else self.check.interval

    def run(self, probes: list[tuple[bool, float]]) -> Iterator[tuple[float, str, int]]:
        now = self.started
        for passed, took in probes:
            now += self.interval(now)
            began = now
            now += took
            if passed:
                self.status, self.streak = "healthy", 0
            else:
                counts = True
                if self.status == "starting" and began - self.started < self.check.start_period:
                    counts = False
                if counts:
                    self.streak += 1
                    if self.streak >= self.check.retries:
                        self.status = "unhealthy"
            yield began, self.status, self.streak


# Whole numbers, so that sums are exact.
checks = st.builds(
    Check,
    st.just(("x",)),
    interval=st.integers(1, 9),
    timeout=st.integers(1, 9),
    retries=st.integers(1, 4),
    start_period=st.integers(0, 40),
    start_interval=st.integers(1, 9),
)


@given(checks, st.integers(0, 1000), st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=25))
def test_the_states_are_docker_s(check: Check, started: int, probes: list[tuple[bool, float]]) -> None:
    state = health.begin(check, started, started)
    for (passed, took), (began, status, failures) in zip(probes, Docker(check, started).run(probes), strict=True):
        assert state.due == began
        state = health.step(state, began, began + took, passed=passed)
        assert (state.status, state.failures) == (status, failures)


def probed(check: Check, *passed: bool) -> Health:
    state = health.begin(check, 0, 0)
    for one in passed:
        state = health.step(state, state.due, state.due, passed=one)
    return state


def test_only_failures_in_a_row_make_unhealthy() -> None:
    check = Check(("x",), interval=1, retries=3)
    assert probed(check, False, False).status is Status.starting
    assert probed(check, False, False, False).status is Status.unhealthy
    assert probed(check, False, False, True, False, False).status is Status.healthy
    assert probed(check, False, False, False, True).status is Status.healthy


def test_failures_while_it_starts_do_not_count_and_one_success_ends_that() -> None:
    check = Check(("x",), interval=10, retries=1, start_period=60, start_interval=5)
    assert probed(check).due == 5
    waiting = probed(check, *[False] * 11)
    assert (waiting.status, waiting.failures, waiting.due) == (Status.starting, 0, 60)
    assert health.step(waiting, 60, 61, passed=False).status is Status.unhealthy
    up = probed(check, False, True)
    assert (up.status, up.due) == (Status.healthy, 20)
    assert health.step(up, 20, 20, passed=False).status is Status.unhealthy, "within the start period"


def test_a_probe_that_takes_long_puts_off_the_next_one() -> None:
    state = health.begin(Check(("x",), interval=10), 100, 100)
    assert health.step(state, 110, 140, passed=False).due == 150


def test_after_a_restart_of_the_operator_the_first_probe_is_at_once() -> None:
    check = Check(("x",), interval=30, start_period=60, start_interval=5)
    assert health.begin(check, 100, 101).due == 105
    late = health.begin(check, 100, 500)
    assert (late.due, late.status) == (500, Status.starting)
    # The start period counts from the container's start, not from the operator's.
    assert health.step(late, 500, 500, passed=False).failures == 1
