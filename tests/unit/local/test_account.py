"""The summary of a finished run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from stromboli.local import account

APPLIED = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
RUN: dict[str, Any] = {
    "status": {
        "startTime": "2026-01-01T12:00:00.100000Z",
        "attempts": [{"startedAt": "2026-01-01T12:00:00.300000Z", "finishedAt": "2026-01-01T12:00:02.000000Z"}],
        "steps": [
            {
                "hook": "agent",
                "startedAt": "2026-01-01T12:00:00.600000Z",
                "finishedAt": "2026-01-01T12:00:01.900000Z",
            }
        ],
        "completionTime": "2026-01-01T12:00:02.050000Z",
        "result": {"text": "Hello."},
        "conditions": [
            {"type": "Succeeded", "status": "True", "reason": "Completed", "message": "The agent answered."},
            {"type": "Allowed", "status": "True", "reason": "Allowed"},
        ],
    }
}


def test_a_finished_run() -> None:
    assert account.finished(RUN)
    assert account.answer(RUN) == "Hello."
    assert account.succeeded(RUN)["reason"] == "Completed"


def test_a_run_that_nobody_has_seen_yet() -> None:
    assert not account.finished({"metadata": {}})
    assert account.answer({"metadata": {}}) == ""
    assert account.conditions({}) == ["TYPE  STATUS  REASON  MESSAGE"]


def test_a_run_under_way_is_not_finished() -> None:
    assert not account.finished({"status": {"conditions": [{"type": "Succeeded", "status": "Unknown"}]}})


def test_conditions_are_aligned() -> None:
    assert account.conditions(RUN) == [
        "TYPE       STATUS  REASON     MESSAGE",
        "Succeeded  True    Completed  The agent answered.",
        "Allowed    True    Allowed",
    ]


def test_where_the_time_went() -> None:
    stages = [(name, round(seconds, 3)) for name, seconds in account.stages(RUN, APPLIED)]
    assert stages == [
        ("seen by the operator", 0.1),
        ("policy, image, CLI mount", 0.2),
        ("container created and started", 0.3),
        ("Claude CLI running", 1.3),
        ("container's end noticed", 0.1),
        ("answer written to the status", 0.05),
    ]


def test_times_rounded_down_never_make_a_negative_stage() -> None:
    run = {"status": {"startTime": "2026-01-01T12:00:00Z", "completionTime": "2026-01-01T12:00:00Z"}}
    late = APPLIED.replace(microsecond=700000)
    assert account.stages(run, late) == [("seen by the operator", 0.0), ("answer written to the status", 0.0)]


def test_timing_adds_up_the_run() -> None:
    assert account.timing([("Podman", 0.5)], [("a", 1.0), ("b", 0.25)]) == [
        "Podman     0.50 s",
        "the run    1.25 s",
        "  a        1.00 s",
        "  b        0.25 s",
    ]
