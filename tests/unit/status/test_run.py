"""Transitions of a run's status, in its API form."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.models.agentrun import AgentRunStatus, PromptSent, StepState
from stromboli.models.run import RunStatus
from stromboli.plan import outcome
from stromboli.plan.attempt import StepRecord
from stromboli.plan.outcome import Outcome
from stromboli.reasons import AllowedReason, Reason, RunCondition
from stromboli.status import conditions, run
from stromboli.status.run import UsedImage
from tests.support.builders import NOON, NOTHING_SECRET, end, moment, records, result_event

ATTEMPT = {"number": 1, "container": "stromboli-u", "bootID": "b", "timeout": "30m", "startedAt": moment().precise}
ENDS = [r for r in Reason if r.status != "Unknown"]


def _at(status: RunStatus, *reasons: Reason, seconds: float = 0.0) -> RunStatus:
    for reason in reasons:
        status = run.at(status, reason, "so it is", moment(seconds))
    return status


def _outcome(**fields: Any) -> Outcome:
    return outcome.of(records(**fields), NOTHING_SECRET, container_exit=0, oom=False, timeout=600.0, ran=1.0)


def test_the_first_state() -> None:
    status = run.at(RunStatus(), Reason.Starting, "making it", moment(0.25, node="n", generation=4))
    assert status.wire["observedGeneration"] == 4
    assert status.wire["node"] == "n"
    assert status.wire["startTime"] == "2026-01-31T12:00:00.250000Z"
    assert status.wire["phase"] == "Pending"
    assert "completionTime" not in status.wire
    assert "duration" not in status.wire
    assert status.reason == "Starting"


def test_the_wire_takes_it() -> None:
    status = run.allowed(_at(RunStatus(), Reason.Starting), AllowedReason.NoAllowlist, "m", moment())
    status = run.with_attempt(status, ATTEMPT)
    status = run.with_images(status, UsedImage("r", "i"), UsedImage("c", "j", "d"))
    step = StepRecord("agent", 0, StepState.succeeded, 0, NOON, NOON + timedelta(seconds=1), "tail")
    status = run.with_outcome(status, _outcome(), [step])
    status = _at(status, Reason.Completed)
    typed = AgentRunStatus.model_validate(json.loads(json.dumps(status.wire)))
    assert typed.model_dump(by_alias=True, exclude_unset=True, mode="json") == status.wire


def test_the_node_and_the_start_stay_what_they_were_first() -> None:
    status = run.at(_at(RunStatus(), Reason.Starting), Reason.Running, "m", moment(5, node="node-2"))
    assert status.wire["node"] == "node-1"
    assert status.wire["startTime"] == "2026-01-31T12:00:00.000000Z"


@pytest.mark.parametrize("reason", Reason)
def test_the_phase_is_derived(reason: Reason) -> None:
    at_work = reason in (Reason.Running, Reason.Canceling)
    expected = {"True": "Succeeded", "False": "Failed", "Unknown": "Running" if at_work else "Pending"}
    assert _at(RunStatus(), reason).wire["phase"] == expected[reason.status]


@pytest.mark.parametrize("reason", Reason)
def test_finished_is_what_has_ended(reason: Reason) -> None:
    assert _at(RunStatus(), reason).is_finished is (reason in ENDS)


@pytest.mark.parametrize("wire", [None, {}, {"conditions": None}, {"conditions": []}, {"observedGeneration": -1}])
def test_a_run_that_nobody_has_seen(wire: dict[str, Any] | None) -> None:
    status = RunStatus.of(wire)
    assert not status.is_finished
    assert status.reason == ""


@pytest.mark.parametrize("reason", ENDS)
def test_an_end(reason: Reason) -> None:
    status = _at(_at(run.with_attempt(RunStatus(), ATTEMPT), Reason.Starting, Reason.Running), reason, seconds=83)
    assert status.wire["completionTime"] == "2026-01-31T12:01:23.000000Z"
    assert status.wire["duration"] == "1m23s"
    assert conditions.find(status.wire["conditions"], RunCondition.Reconciling) is None
    assert (conditions.find(status.wire["conditions"], RunCondition.Stalled) is not None) is (reason.status == "False")
    assert "waitingSince" not in status.wire


def test_a_clock_that_was_set_back_makes_no_negative_duration() -> None:
    assert _at(run.with_attempt(RunStatus(), ATTEMPT), Reason.Completed, seconds=-60).wire["duration"] == "0s"


def test_the_duration_is_that_of_the_attempts_and_not_of_the_wait() -> None:
    status = _at(RunStatus(), Reason.Queued)
    first = {**ATTEMPT, "startedAt": moment(3600).precise, "finishedAt": moment(3601.5).precise}
    second = {**ATTEMPT, "number": 2, "startedAt": moment(3700).precise}
    status = run.with_attempt(run.with_attempt(status, first), second)
    assert _at(status, Reason.Completed, seconds=3702.25).wire["duration"] == "3.8s"
    assert "duration" not in _at(_at(RunStatus(), Reason.Pulling), Reason.TimedOut, seconds=1800).wire, (
        "nothing of it ran"
    )


@pytest.mark.parametrize(
    ("cost", "shown"), [(0.00019999999999999998, "0.0002"), (0.1 + 0.2, "0.3"), (1.5, "1.5"), (0.0, "0.0")]
)
def test_a_cost_is_shown_without_the_rest_of_binary_fractions(cost: float, shown: str) -> None:
    status = run.with_outcome(RunStatus(), _outcome(stdout=result_event(total_cost_usd=cost)), [])
    assert json.dumps(status.wire["usage"]["costUSD"]) == shown


def test_what_was_given_is_not_changed() -> None:
    before = _at(RunStatus(), Reason.Pulling)
    kept = json.loads(json.dumps(before.wire))
    _at(before, Reason.Running, Reason.Completed, seconds=3)
    run.with_attempt(before, ATTEMPT)
    run.allowed(before, AllowedReason.Allowed, "m", moment(3))
    assert before.wire == kept


@given(st.lists(st.sampled_from(list(Reason)), min_size=1, max_size=6))
def test_saying_it_twice_changes_nothing(reasons: list[Reason]) -> None:
    """Except the time of completion, which is set once."""
    status = _at(RunStatus(), *reasons)
    again = _at(status, reasons[-1], seconds=60)
    ends = ("completionTime", "duration")
    first, second = ({k: v for k, v in s.wire.items() if k not in ends} for s in (status, again))
    assert first == second


# --- waiting ---


def test_a_wait_counts_from_where_it_began() -> None:
    status = _at(RunStatus(), Reason.WaitingForReference)
    status = _at(status, Reason.RegistryUnavailable, seconds=10)
    status = _at(status, Reason.Pulling, seconds=20)
    assert run.waited(status, moment(25)) == 25.0


def test_a_run_that_does_not_wait_has_waited_for_nothing() -> None:
    assert run.waited(RunStatus(), moment()) == 0.0
    assert run.waited(_at(RunStatus(), Reason.Running), moment(9)) == 0.0


def test_a_run_that_runs_waits_no_more() -> None:
    status = _at(_at(RunStatus(), Reason.Pulling), Reason.Starting, Reason.Running, seconds=5)
    assert "waitingSince" not in status.wire
    assert run.waited(_at(status, Reason.PodmanUnavailable, seconds=50), moment(60)) == 10.0


def test_a_start_that_fails_again_and_again_is_one_wait() -> None:
    """Otherwise a container that can never start would be retried forever."""
    status = RunStatus()
    for second in range(0, 100, 10):
        status = _at(status, Reason.Starting, Reason.PodmanUnavailable, seconds=second)
    assert run.waited(status, moment(100)) == 100.0


def test_starting_alone_is_no_wait() -> None:
    assert run.waited(_at(RunStatus(), Reason.Starting), moment(9)) == 0.0


def test_a_clock_that_was_set_back_makes_no_negative_wait() -> None:
    assert run.waited(_at(RunStatus(), Reason.Pulling), moment(-5)) == 0.0


@pytest.mark.parametrize("reason", Reason)
def test_which_reasons_wait(reason: Reason) -> None:
    waits = {
        "WaitingForReference",
        "CLIImageUnavailable",
        "PodmanUnavailable",
        "RegistryUnavailable",
        "NodeOutOfDisk",
        "Pulling",
    }
    assert ("waitingSince" in _at(RunStatus(), reason).wire) is (reason.value in waits)


# --- attempts ---


def test_attempts_are_known_by_their_number() -> None:
    status = run.with_attempt(RunStatus(), ATTEMPT)
    status = run.with_attempt(status, {**ATTEMPT, "number": 2})
    status = run.with_attempt(status, {**ATTEMPT, "number": 2, "exitCode": 1})
    assert [(a["number"], a.get("exitCode")) for a in status.wire["attempts"]] == [(1, None), (2, 1)]


def test_images() -> None:
    image, cli = UsedImage("r", "a", made_of="c"), UsedImage("s", "b", digest="d")
    found = {"image": {"reference": "r", "id": "a", "containerImageID": "c"}}
    assert run.with_images(RunStatus(), image, None).wire == found
    found |= {"cliImage": {"reference": "s", "id": "b", "digest": "d"}}
    assert run.with_images(RunStatus(), image, cli).wire == found


# --- outcome ---


def test_an_answer() -> None:
    status = run.with_outcome(RunStatus(), _outcome(), [])
    assert status.wire == {
        "steps": [],
        "result": {"text": "hi ✓", "truncated": False},
        "usage": {
            "turns": 1,
            "inputTokens": 11,
            "outputTokens": 7,
            "cacheReadTokens": 5,
            "cacheCreationTokens": 3,
            "costUSD": 0.0002,
            "apiDuration": "43ms",
        },
    }


def test_what_the_agent_was_denied_and_an_error_are_told() -> None:
    denials = [{"tool_name": "Write", "tool_input": {}}, {"tool_name": "Bash"}, {"tool_name": "Bash"}, "x", {}]
    event = result_event(permission_denials=denials, is_error=True)
    result = run.with_outcome(RunStatus(), _outcome(stdout=event), []).wire["result"]
    assert result["permissionDenials"] == [{"tool": "Write", "count": 1}, {"tool": "Bash", "count": 2}]
    assert result["isError"] is True


def _model(tokens: int, cost: float) -> dict[str, Any]:
    return {"inputTokens": tokens, "outputTokens": 1, "cacheReadInputTokens": 2, "costUSD": cost, "contextWindow": 9}


def test_the_run_s_usage_is_the_sum_of_its_attempts() -> None:
    status = RunStatus()
    for number, models in enumerate(({"a": _model(5, 0.1)}, {"a": _model(6, 0.2), "b": _model(7, 0.3)}), start=1):
        status = run.with_attempt(status, {**ATTEMPT, "number": number})
        event = result_event(model_usage_since_last_result=models, modelUsage={"z": _model(1, 1)}, duration_api_ms=1700)
        ended = _outcome(stdout=event)
        status = run.with_outcome(status, ended, [])
        assert run.with_outcome(status, ended, []) == status, "again, which changes nothing"
    one = {"turns": 1, "inputTokens": 11, "outputTokens": 7, "cacheReadTokens": 5, "cacheCreationTokens": 3}
    assert [attempt["usage"] for attempt in status.wire["attempts"]] == [{**one, "costUSD": 0.0002}] * 2
    assert {k: v for k, v in status.wire["usage"].items() if k in one} == {k: 2 * v for k, v in one.items()}
    assert (status.wire["usage"]["costUSD"], status.wire["usage"]["apiDuration"]) == (0.0004, "3.4s")
    counts = {"outputTokens": 2, "cacheReadTokens": 4, "cacheCreationTokens": 0}
    assert status.wire["usage"]["models"] == [
        {"model": "a", "inputTokens": 11, **counts, "costUSD": 0.3},
        {"model": "b", "inputTokens": 7, "outputTokens": 1, "cacheReadTokens": 2, "cacheCreationTokens": 0}
        | {"costUSD": 0.3},
    ]
    AgentRunStatus.model_validate(json.loads(json.dumps(status.wire)))


def test_an_attempt_without_an_answer_used_nothing_that_is_known() -> None:
    status = run.with_outcome(run.with_attempt(RunStatus(), ATTEMPT), _outcome(stdout=b""), [])
    assert "usage" not in status.wire
    assert "usage" not in status.wire["attempts"][0]


def test_what_was_used_so_far_has_no_cost() -> None:
    line = {"type": "assistant", "session_id": "s", "message": {"id": "m", "model": "a", "usage": {"input_tokens": 3}}}
    status = run.with_outcome(RunStatus(), _outcome(stdout=json.dumps(line).encode() + b"\n"), [])
    counts = {"inputTokens": 3, "outputTokens": 0, "cacheReadTokens": 0, "cacheCreationTokens": 0}
    assert status.wire["usage"] == {"turns": 1, **counts, "models": [{"model": "a", **counts}]}


def test_models_have_a_bound() -> None:
    status = RunStatus()
    for number in range(1, 4):
        status = run.with_attempt(status, {**ATTEMPT, "number": number})
        models = {f"{number}-{n}": _model(1, 0.1) for n in range(10)}
        status = run.with_outcome(status, _outcome(stdout=result_event(modelUsage=models)), [])
    assert len(status.wire["usage"]["models"]) == 16
    AgentRunStatus.model_validate(json.loads(json.dumps(status.wire)))


def test_a_long_answer_says_so() -> None:
    status = run.with_outcome(RunStatus(), _outcome(stdout=result_event(result="x" * 40_000)), [])
    assert status.wire["result"]["truncated"] is True
    assert len(status.wire["result"]["text"]) == 32_768


@pytest.mark.parametrize("value", [{"ok": False}, [], 0, False, "", {"a": None}])
def test_a_structured_answer(value: Any) -> None:
    status = run.with_outcome(RunStatus(), _outcome(stdout=result_event(structured_output=value)), [])
    assert status.wire["result"]["structured"] == value


def test_the_answer_of_an_earlier_attempt_is_not_that_of_the_last() -> None:
    first = run.with_outcome(run.with_attempt(RunStatus(), ATTEMPT), _outcome(), [])
    last = run.with_outcome(run.with_attempt(first, {**ATTEMPT, "number": 2}), _outcome(stdout=b""), [])
    assert "result" not in last.wire
    assert last.wire["usage"] == first.wire["usage"]


def test_no_answer_is_no_result() -> None:
    assert run.with_outcome(RunStatus(), _outcome(stdout=b""), []).wire == {"steps": []}


def test_an_error_that_speaks_is_a_result_too() -> None:
    what = _outcome(stdout=result_event(is_error=True, result="API Error"), end=end(cause="failed", exit_code=1))
    assert run.with_outcome(RunStatus(), what, []).wire["result"]["text"] == "API Error"


def test_steps() -> None:
    steps = [
        StepRecord("postCreate", 1, StepState.failed, 3, NOON, NOON + timedelta(milliseconds=1), "no"),
        StepRecord("agent", 0, StepState.running, None, None, None, ""),
    ]
    assert run.with_outcome(RunStatus(), _outcome(stdout=b""), steps).wire["steps"] == [
        {
            "hook": "postCreate",
            "index": 1,
            "state": "Failed",
            "exitCode": 3,
            "startedAt": "2026-01-31T12:00:00.000000Z",
            "finishedAt": "2026-01-31T12:00:00.001000Z",
            "tail": "no",
        },
        {"hook": "agent", "index": 0, "state": "Running", "tail": ""},
    ]


def test_an_exit_code_of_0_is_one() -> None:
    step = StepRecord("agent", 0, StepState.succeeded, 0, None, None, "")
    assert run.with_outcome(RunStatus(), _outcome(), [step]).wire["steps"][0]["exitCode"] == 0


@pytest.mark.parametrize("continued", [False, True])
def test_an_attempt_that_continued_says_so(continued: bool) -> None:
    begun = run.begun(RunStatus(), 2, "stromboli-x", "boot", 60.0, moment())
    outcome = Outcome(Reason.Completed, "answered", None, 0, PromptSent.yes, continued=continued)
    [attempt] = run.ended(begun, outcome, [], None, moment()).wire["attempts"]
    assert attempt.get("continued", False) is continued
