"""Conditions as kstatus, Flux and Argo CD interpret them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli import visible
from stromboli.reasons import AllowedReason, Reason, RunCondition
from stromboli.status import conditions

T0, T1 = "2026-01-31T12:00:00Z", "2026-01-31T12:00:01Z"
Conditions = list[dict[str, Any]]


def _update(old: Conditions, reason: Reason, message: str = "m", generation: int = 1, now: str = T1) -> Conditions:
    return conditions.update(old, reason, message, generation=generation, now=now)


def _by_type(found: Conditions) -> dict[str, dict[str, Any]]:
    by_type = {c["type"]: c for c in found}
    assert len(by_type) == len(found), "a type is there twice"
    return by_type


@pytest.mark.parametrize("reason", [r for r in Reason if r.status == "Unknown"])
def test_while_it_goes_on(reason: Reason) -> None:
    found = _by_type(_update([], reason))
    assert {t: c["status"] for t, c in found.items()} == {
        "Succeeded": "Unknown",
        "Finished": "False",
        "Reconciling": "True",
    }


@pytest.mark.parametrize("reason", [r for r in Reason if r.status == "False"])
def test_failed(reason: Reason) -> None:
    found = _by_type(_update(_update([], Reason.Running), reason))
    assert {t: c["status"] for t, c in found.items()} == {
        "Succeeded": "False",
        "Finished": "True",
        "Stalled": "True",
    }


def test_completed() -> None:
    found = _by_type(_update(_update([], Reason.Running), Reason.Completed))
    assert {t: c["status"] for t, c in found.items()} == {"Succeeded": "True", "Finished": "True"}


@pytest.mark.parametrize("end", [r for r in Reason if r.status != "Unknown"])
def test_finished_comes_true_once_at_either_end(end: Reason) -> None:
    first = _update([], Reason.Queued, now=T0)
    assert _by_type(first)["Finished"]["status"] == "False"
    finished = _by_type(_update(first, end, "how it ended", now=T1))["Finished"]
    assert (finished["status"], finished["reason"], finished["message"]) == ("True", end.value, "how it ended")
    assert finished["lastTransitionTime"] == T1


@pytest.mark.parametrize("reason", Reason)
def test_each_condition_is_whole(reason: Reason) -> None:
    for condition in _update([], reason, "what to do", generation=3):
        assert set(condition) == {"type", "status", "observedGeneration", "lastTransitionTime", "reason", "message"}
        assert condition["observedGeneration"] == 3
        assert condition["reason"] == reason.value
        assert type(condition["reason"]) is str, "a StrEnum would be written with its tag by a YAML dumper"
        assert condition["message"] == "what to do"


def test_an_unchanged_status_keeps_its_time() -> None:
    old = _update([], Reason.Pulling, now=T0)
    found = _by_type(_update(old, Reason.Running, "other", generation=2, now=T1))
    for condition in found.values():
        assert condition["lastTransitionTime"] == T0
        assert condition["observedGeneration"] == 2
        assert (condition["reason"], condition["message"]) == ("Running", "other")


def test_a_changed_status_has_a_new_time() -> None:
    old = _update([], Reason.Running, now=T0)
    found = _by_type(_update(old, Reason.TimedOut, now=T1))
    assert found["Succeeded"]["lastTransitionTime"] == T1
    assert found["Stalled"]["lastTransitionTime"] == T1


def test_saying_it_twice_changes_nothing() -> None:
    once = _update([], Reason.Running, now=T0)
    assert _update(once, Reason.Running, now=T1) == once


def test_others_conditions_stay() -> None:
    foreign = {"type": "example.com/Audited", "status": "True", "reason": "Ok", "lastTransitionTime": T0}
    found = _update([foreign, *_update([], Reason.Running)], Reason.Completed)
    assert foreign in found
    assert found[0]["type"] == "Succeeded", "kubectl shows the first first"
    assert [c["type"] for c in found].count("Finished") == 1


def test_the_old_ones_are_left_as_they_were() -> None:
    old = _update([], Reason.Running, now=T0)
    before = [dict(c) for c in old]
    _update(old, Reason.Completed)
    assert old == before


# --- Allowed ---


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (AllowedReason.Allowed, "True"),
        (AllowedReason.NoAllowlist, "True"),
        (AllowedReason.ImageNotAllowed, "False"),
        (AllowedReason.PolicyViolation, "False"),
    ],
)
def test_allowed(reason: AllowedReason, status: str) -> None:
    found = conditions.allowed(_update([], Reason.Starting), reason, "m", generation=2, now=T1)
    allowed = _by_type(found)["Allowed"]
    assert (allowed["status"], allowed["reason"], allowed["observedGeneration"]) == (status, reason.value, 2)
    assert {"Succeeded", "Reconciling"} < set(_by_type(found))


def test_allowed_is_there_once_and_outlives_the_run() -> None:
    found = conditions.allowed([], AllowedReason.Allowed, "a", generation=1, now=T0)
    found = conditions.allowed(found, AllowedReason.NoAllowlist, "b", generation=1, now=T1)
    assert [c["message"] for c in found] == ["b"]
    assert found[0]["lastTransitionTime"] == T0
    assert _by_type(_update(found, Reason.Completed))["Allowed"]["message"] == "b"


# --- find and clip ---


def test_find() -> None:
    found = _update([], Reason.Running)
    assert conditions.find(found, RunCondition.Reconciling) is found[-1]
    assert conditions.find(found, RunCondition.Stalled) is None
    assert conditions.find([{}], RunCondition.Stalled) is None


@given(st.text(max_size=50))
def test_a_short_message_stays_but_for_what_would_steer_a_terminal(message: str) -> None:
    assert conditions.clip(message) == visible.text(message)


@given(st.integers(0, 200), st.sampled_from(["x", "é", "🦊"]))
def test_a_long_message_keeps_both_its_ends(more: int, char: str) -> None:
    message = "BEGIN" + char * (conditions.MAX_MESSAGE - 8 + more) + "END"
    clipped = conditions.clip(message)
    assert len(clipped) <= conditions.MAX_MESSAGE
    assert clipped.startswith("BEGIN")
    assert clipped.endswith("END")
    assert (clipped == message) is (more == 0)


def test_messages_are_clipped_where_they_are_written() -> None:
    (succeeded, *_) = _update([], Reason.Running, "x" * 100_000)
    assert len(succeeded["message"]) <= conditions.MAX_MESSAGE


def test_what_has_the_shape_of_a_key_is_masked_before_the_message_is_cut() -> None:
    key = "sk-ant-api03-0123456789abcdef0123456789"
    assert conditions.clip(f"its /etc/passwd leads to /{key}") == "its /etc/passwd leads to /***"
    for before in range(0, conditions.MAX_MESSAGE, 7):
        assert "0123456789" not in conditions.clip("." * before + key + "." * conditions.MAX_MESSAGE)
