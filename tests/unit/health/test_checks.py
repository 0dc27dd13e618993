"""What probes are answered, and what a short failure does to it: nothing."""

from __future__ import annotations

import pytest

from stromboli.health.checks import PATIENCE, Answer, Debounced, Health


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def health(**problems: str) -> Health:
    return Health(
        live={"parts": lambda: problems.get("parts")},
        needed={"podman": lambda: problems.get("podman"), "disk": lambda: problems.get("disk")},
    )


def test_where_all_is_well_the_answer_is_short() -> None:
    assert health().healthz() == Answer(True, "ok\n")
    assert health().readyz() == Answer(True, "ok\n")
    assert health().problems() == []


def test_on_request_each_check_has_its_line() -> None:
    found = health().readyz(verbose=True)
    assert found is not None
    assert found.text == "[+]podman ok\n[+]disk ok\n[+]parts ok\nreadyz check passed\n"
    assert found.status == 200


def test_what_is_wrong_is_said_and_is_not_cured_by_a_restart() -> None:
    ill = health(podman="Podman does not answer")
    assert ill.healthz() == Answer(True, "ok\n")
    assert ill.readyz() == Answer(
        False, "[-]podman failed: Podman does not answer\n[+]disk ok\n[+]parts ok\nreadyz check failed\n"
    )
    assert ill.problems() == ["podman: Podman does not answer"]


def test_what_a_restart_cures_is_in_both() -> None:
    ill = health(parts="the sweep has been stuck for 2000 s")
    for answer in (ill.healthz(), ill.readyz()):
        assert answer is not None
        assert answer.status == 503
        assert "[-]parts failed: the sweep has been stuck for 2000 s\n" in answer.text


def test_one_check_alone() -> None:
    ill = health(podman="Podman does not answer")
    assert ill.readyz("disk") == Answer(True, "ok\n")
    assert ill.readyz("podman") == Answer(False, "[-]podman failed: Podman does not answer\nreadyz check failed\n")
    assert ill.healthz("podman") is None
    assert ill.readyz("other") is None


def test_before_anything_is_known_all_is_not_well() -> None:
    debounced = Debounced("not asked yet")
    assert debounced.problem() == "not asked yet"
    debounced.found("broken")
    assert debounced.problem() == "broken (for 0 s)"
    debounced.found(None)
    assert debounced.problem() is None


@pytest.mark.parametrize("times", [1, 3])
def test_a_failure_counts_once_it_has_lasted_and_its_end_at_once(times: int) -> None:
    clock = Clock()
    debounced = Debounced("not asked yet", clock=clock)
    debounced.found(None)
    for _ in range(times):
        debounced.found("broken")
        clock.now += PATIENCE / times - 0.01
        assert debounced.problem() is None
    clock.now += 0.1
    debounced.found("broken still")
    assert debounced.problem() == f"broken still (for {PATIENCE:.0f} s)"
    debounced.found(None)
    assert debounced.problem() is None
    debounced.found("broken again")
    assert debounced.problem() is None
