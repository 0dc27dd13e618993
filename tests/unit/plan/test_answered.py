"""What a run is in the words of Stromboli's HTTP API."""

from __future__ import annotations

import pytest

from stromboli.models.run import Run
from stromboli.plan import answered, follow
from stromboli.plan.follow import GiveUp
from stromboli.plan.verdict import Wait
from stromboli.reasons import Reason
from tests.support.builders import NOON, Modifier, at, having, read

FAILED = {
    Reason.InvalidSpec,
    Reason.ImageNotAllowed,
    Reason.ImageIncompatible,
    Reason.ImagePullFailed,
    Reason.PolicyViolation,
    Reason.CredentialsMissing,
    Reason.HookFailed,
    Reason.ServiceFailed,
    Reason.AgentFailed,
    Reason.PermissionDenied,
    Reason.RateLimited,
    Reason.MaxTurnsReached,
    Reason.BudgetExceeded,
    Reason.TimedOut,
    Reason.NoProgress,
}
EXPECTED = {
    Reason.Completed: "completed",
    Reason.Canceled: "cancelled",
    Reason.OutOfMemory: "crashed",
    Reason.ContainerLost: "crashed",
    **dict.fromkeys(FAILED, "failed"),
    **dict.fromkeys(
        (Reason.Starting, Reason.RunningHooks, Reason.Running, Reason.Canceling, Reason.Retrying), "running"
    ),
}


def attempted(**fields: object) -> Modifier:
    """The run has an attempt that says this."""
    entry = {"number": 1, "container": "c", "bootID": "b", **fields}
    return lambda obj: {**obj, "status": {**obj.get("status", {}), "attempts": [entry]}}


def answering(text: object) -> Modifier:
    return lambda obj: {**obj, "status": {**obj["status"], "result": {"text": text}}}


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_is_a_state_of_a_job(reason: Reason) -> None:
    assert answered.job_status(read(at(reason))) == EXPECTED.get(reason, "pending")


def test_a_run_that_nobody_has_seen_is_pending() -> None:
    assert answered.job_status(read()) == "pending"


@pytest.mark.parametrize(
    ("code", "signal", "status"),
    [(1, None, "failed"), (128, None, "failed"), (137, 9, "crashed"), (143, 15, "crashed"), (255, None, "failed")],
)
def test_an_agent_that_a_signal_has_killed_has_crashed(code: int, signal: int | None, status: str) -> None:
    run = read(at(Reason.AgentFailed), attempted(exitCode=code))
    assert (answered.exit_code(run), answered.signal(run), answered.job_status(run)) == (code, signal, status)


@pytest.mark.parametrize("reason", [Reason.TimedOut, Reason.NoProgress, Reason.HookFailed, Reason.Canceled])
def test_what_the_operator_has_killed_has_not_crashed(reason: Reason) -> None:
    run = read(at(reason), attempted(exitCode=137))
    assert not answered.is_crash(run)
    assert answered.job_status(run) == EXPECTED[reason]


@pytest.mark.parametrize("code", [None, "137", {}])
def test_an_exit_code_that_is_none_says_nothing(code: object) -> None:
    run = read(at(Reason.AgentFailed), attempted(exitCode=code))
    assert answered.exit_code(run) is None
    assert answered.job_status(run) == "failed"


def test_output_error_and_session() -> None:
    done = read(having(session={"name": "s"}), at(Reason.Completed, "answered in 1 turn"), answering("hi ✓"))
    failed = read(at(Reason.AgentFailed, "the CLI says: no"), answering("no"))
    assert said(done) == ("hi ✓", "", "s")
    assert said(failed) == ("no", "the CLI says: no", "")
    assert said(read(at(Reason.Running, "the agent is running"))) == ("", "", "")
    assert said(read(at(Reason.Completed), answering(5))) == ("", "", "")


def said(run: Run) -> tuple[str, str, str]:
    return answered.output(run), answered.error_text(run), answered.session_id(run)


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason.status == "Unknown"])
def test_a_wait_that_was_too_long_says_nothing_of_the_nodes_paths(reason: Reason) -> None:
    waits = Wait(reason, "the operator's folders on the node: /var/lib/x: Input/output error", 1.0)
    late = follow.out_of_time(read(), None, NOON, waits, 5400.0)
    assert isinstance(late, GiveUp)
    run = read(at(late.reason, late.message))
    assert answered.waited_for(run) == reason
    error = answered.error_text(run)
    assert error.startswith(f"gave up after 1h30m ({reason}): ")
    assert ("/var/lib" in error) == (reason not in (Reason.PodmanUnavailable, Reason.NodeOutOfDisk))


def test_only_a_run_that_gave_up_has_waited() -> None:
    message = "gave up after 1h30m (PodmanUnavailable): x"
    assert answered.waited_for(read(at(Reason.AgentFailed, message))) == ""
    assert answered.error_text(read(at(Reason.AgentFailed, message))) == message
    assert answered.waited_for(read(at(Reason.TimedOut, "the attempt took longer"))) == ""
