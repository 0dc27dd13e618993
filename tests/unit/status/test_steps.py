"""`status.steps` of a running run: written when a step begins or ends, and not for new output."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from stromboli.models.agentrun import AgentRunStatus, StepState
from stromboli.models.run import RunStatus
from stromboli.plan.attempt import StepRecord
from stromboli.status import run
from tests.support.builders import NOON

BEGUN = StepRecord("postStart", 0, StepState.running, None, NOON, None, "so far")
OVER = replace(BEGUN, state=StepState.succeeded, exit_code=0, finished_at=NOON + timedelta(seconds=2), tail="all")
NEXT = StepRecord("postStart", 1, StepState.running, None, OVER.finished_at, None, "")


def test_a_step_that_runs_has_a_beginning_only() -> None:
    status = run.with_steps(RunStatus(), [BEGUN])
    assert status.wire["steps"] == [
        {
            "hook": "postStart",
            "index": 0,
            "state": "Running",
            "tail": "so far",
            "startedAt": "2026-01-31T12:00:00.000000Z",
        }
    ]
    AgentRunStatus.model_validate(status.wire)


def test_a_step_that_ended_is_told_with_what_it_wrote() -> None:
    status = run.with_steps(run.with_steps(RunStatus(), [BEGUN]), [OVER])
    (step,) = status.wire["steps"]
    assert (step["state"], step["exitCode"], step["tail"]) == ("Succeeded", 0, "all")
    assert step["finishedAt"] == "2026-01-31T12:00:02.000000Z"


def test_the_next_step_is_told() -> None:
    status = run.with_steps(run.with_steps(RunStatus(), [OVER]), [OVER, NEXT])
    assert [(s["index"], s["state"]) for s in status.wire["steps"]] == [(0, "Succeeded"), (1, StepState.running)]


def test_output_alone_changes_nothing() -> None:
    status = run.with_steps(RunStatus.of({"node": "n"}), [BEGUN])
    assert run.with_steps(status, [replace(BEGUN, tail="so far, and more")]) == status


def test_no_steps_are_no_field() -> None:
    assert run.with_steps(RunStatus.of({"node": "n"}), []).wire == {"node": "n"}


def test_the_old_status_is_left_as_it_was() -> None:
    old = run.with_steps(RunStatus.of({"node": "n"}), [BEGUN])
    kept = [dict(s) for s in old.wire["steps"]]
    new = run.with_steps(old, [OVER])
    assert old.wire["steps"] == kept
    assert new.wire["node"] == "n"
