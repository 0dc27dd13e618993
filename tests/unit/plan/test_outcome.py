"""How an attempt ended: each reason, out of what the supervisor, the CLI and the container say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.models.agentrun import PromptSent
from stromboli.plan import follow, outcome
from stromboli.plan.attempt import ALREADY_STARTED, CLI_MISSING, OUT_UNUSABLE, SECRET_MISSING, WORKDIR_UNUSABLE, Records
from stromboli.plan.outcome import Outcome
from stromboli.reasons import Reason
from tests.support.builders import NOTHING_SECRET, end, records, result_event


def _of(what: Records, *, container_exit: int | None = 0, oom: bool = False, ran: float = 5.0) -> Outcome:
    return outcome.of(what, NOTHING_SECRET, container_exit=container_exit, oom=oom, timeout=600.0, ran=ran)


def _failed(exit_code: int = 1, stderr: str = "", **fields: Any) -> Outcome:
    """An attempt whose CLI ended with an error event."""
    event = result_event(**({"is_error": True} | fields))
    return _of(records(end=end(cause="failed", exit_code=exit_code), stdout=event, stderr_tail=stderr))


# --- with the supervisor's last word ---


def test_completed() -> None:
    found = _of(records())
    assert found.reason is Reason.Completed
    assert found.message == "answered in 1 turn"
    assert found.answer is not None
    assert found.answer.text == "hi ✓"
    assert found.exit_code == 0


@pytest.mark.parametrize(("turns", "said"), [(0, "0 turns"), (1, "1 turn"), (2, "2 turns")])
def test_turns_are_counted(turns: int, said: str) -> None:
    assert _of(records(stdout=result_event(num_turns=turns))).message == f"answered in {said}"


def test_the_supervisors_exit_code_is_the_attempts() -> None:
    assert _of(records(end=end(exit_code=7)), container_exit=0).exit_code == 7


def test_timeout() -> None:
    found = _of(records(end=end(cause="timeout", exit_code=143), stdout=b""))
    assert found.reason is Reason.TimedOut
    assert found.message == "the attempt took longer than its timeout of 10m; raise spec.timeout"


def test_a_timeout_with_an_answer_is_a_timeout() -> None:
    found = _of(records(end=end(cause="timeout", exit_code=143)))
    assert found.reason is Reason.TimedOut
    assert found.answer is not None, "what it said is kept"


def test_ended_from_outside() -> None:
    found = _of(records(end=end(cause="cancelled", exit_code=143), stdout=b""))
    assert found.reason is Reason.AgentFailed
    assert "SIGTERM" in found.message


@pytest.mark.parametrize(("by_record", "by_cgroup"), [(True, False), (False, True), (True, True)])
def test_out_of_memory(by_record: bool, by_cgroup: bool) -> None:
    found = _of(records(end=end(cause="failed", exit_code=137, oom=by_record), stdout=b""), oom=by_cgroup)
    assert found.reason is Reason.OutOfMemory
    assert "raise spec.resources.memory" in found.message


def test_killed_without_the_cgroups_word_is_no_lack_of_memory() -> None:
    found = _of(records(end=end(cause="failed", exit_code=137), stdout=b"", stderr_tail="Killed"))
    assert found.reason is Reason.AgentFailed
    assert "exit code 137 and no answer" in found.message
    assert found.message.endswith("Killed")


def test_a_tool_that_ran_out_of_memory_is_not_the_agent() -> None:
    found = _of(records(end=end(oom=True)))
    assert found.reason is Reason.Completed


def test_max_turns() -> None:
    found = _failed(subtype="error_max_turns", result=None, errors=["Reached maximum number of turns (3)"])
    assert found.reason is Reason.MaxTurnsReached
    assert found.message == "Reached maximum number of turns (3); raise claude.maxTurns if the task needs more"


def test_budget() -> None:
    found = _failed(subtype="error_max_budget_usd", result=None, errors=["Reached maximum budget ($0.5)"])
    assert found.reason is Reason.BudgetExceeded
    assert found.message == "Reached maximum budget ($0.5); raise claude.maxBudgetUSD if the task needs more"


def test_a_limit_without_a_word() -> None:
    assert _failed(subtype="error_max_turns", result=None).message.startswith("a limit was reached; raise")


@pytest.mark.parametrize(
    "fields",
    [
        {"result": "Failed to authenticate. API Error: 401"},
        {"subtype": "error_during_execution", "result": None, "errors": ["Failed to authenticate. API Error: 401"]},
    ],
)
def test_an_api_error(fields: dict[str, Any]) -> None:
    found = _failed(stderr="", **fields)
    assert found.reason is Reason.AgentFailed
    assert found.message == "the Claude CLI says: Failed to authenticate. API Error: 401"


def test_an_error_with_exit_code_0_is_an_error() -> None:
    assert _failed(exit_code=0, result="API Error").reason is Reason.AgentFailed


def test_an_exit_code_other_than_0_is_a_failure_whatever_the_answer() -> None:
    found = _failed(exit_code=3, is_error=False, result="all is well")
    assert found.reason is Reason.AgentFailed


def test_an_error_without_words() -> None:
    assert "ended with exit code 4" in _failed(exit_code=4, result="").message


def test_no_answer_at_all() -> None:
    tail = "\n".join(f"line {n}" for n in range(20))
    found = _of(records(end=end(cause="failed", exit_code=1), stdout=b"", stderr_tail=tail))
    assert found.reason is Reason.AgentFailed
    assert "exit code 1 and no answer; its last lines on standard error:\nline 12\n" in found.message
    assert found.message.endswith("line 19")
    assert "line 11" not in found.message


def test_what_the_cli_says_is_not_said_twice() -> None:
    found = _failed(result="No conversation found", stderr="No conversation found\n")
    assert found.message == "the Claude CLI says: No conversation found"


# --- before the prompt was sent ---


def test_a_workdir_that_cannot_be_made() -> None:
    found = _of(
        records(
            sent=False,
            end=end(cause="failed", exit_code=WORKDIR_UNUSABLE),
            stdout=b"",
            stderr_tail="mkdir: can't create directory '/x': Permission denied",
        )
    )
    assert found.reason is Reason.InvalidSpec
    assert found.message.startswith("spec.workdir: ")
    assert "choose a folder that it can" in found.message
    assert "Permission denied" in found.message


@pytest.mark.parametrize("code", [OUT_UNUSABLE, 1, 127])
def test_another_end_before_the_prompt_was_sent(code: int) -> None:
    found = _of(records(sent=False, end=end(cause="failed", exit_code=code), stdout=b""))
    assert found.reason is Reason.AgentFailed
    assert f"the agent was not started: the supervisor gave up with exit code {code}" in found.message


# --- without the supervisor's last word ---


def test_the_container_vanished() -> None:
    found = _of(records(end=None, stdout=b""), container_exit=None)
    assert found.reason is Reason.ContainerLost
    assert "an unknown exit code" in found.message
    assert found.exit_code is None


def test_the_container_was_killed() -> None:
    found = _of(records(end=None, stdout=b""), container_exit=137)
    assert found.reason is Reason.ContainerLost
    assert "exit code 137" in found.message
    assert found.exit_code == 137


def test_the_container_was_killed_for_lack_of_memory() -> None:
    assert _of(records(end=None, stdout=b""), container_exit=137, oom=True).reason is Reason.OutOfMemory


def test_the_backstop_ended_it() -> None:
    found = _of(records(end=None, stdout=b""), container_exit=137, ran=720.0)
    assert found.reason is Reason.TimedOut
    assert "timeout of 10m" in found.message


@pytest.mark.parametrize("code", [-1, 137, 1])
def test_what_outlived_its_timeout_is_a_timeout_whatever_its_record_says(code: int) -> None:
    """An agent can kill the supervisor's timer, and answer when it likes."""
    beyond = 600.0 + follow.KILL_AFTER
    assert _of(records(), container_exit=code, ran=beyond).reason is Reason.TimedOut
    assert _of(records(end=None), container_exit=code, ran=beyond).reason is Reason.TimedOut
    assert _of(records(), container_exit=0, ran=601.0).reason is Reason.Completed, "it came to its end in its grace"


@pytest.mark.parametrize("code", [0, 1, 126])
def test_a_record_that_was_removed_is_not_called_a_kill(code: int) -> None:
    found = _of(records(end=None, stdout=b""), container_exit=code)
    assert found.reason is Reason.ContainerLost
    assert f"exit code {code} and without a record: something in it removed that" in found.message
    assert "killed" not in found.message
    assert "it is not sent again by itself" in found.message


@pytest.mark.parametrize("code", [CLI_MISSING, ALREADY_STARTED, OUT_UNUSABLE, SECRET_MISSING])
def test_what_kept_the_supervisor_from_starting_is_said(code: int) -> None:
    found = _of(records(started=False, sent=False, end=None, stdout=b""), container_exit=code)
    assert found.reason is Reason.ContainerLost
    assert "the agent was not started, in several attempts" in found.message
    assert "the prompt was not sent" in found.message
    forged = _of(records(started=True, sent=True, end=None, stdout=b""), container_exit=code)
    assert "not started" not in forged.message


@pytest.mark.parametrize(
    ("sent", "stdout", "said"),
    [
        (False, b"", PromptSent.no),
        (False, result_event(), PromptSent.no),
        (True, b"", PromptSent.unknown),
        (True, result_event(), PromptSent.yes),
    ],
)
def test_whether_the_prompt_was_sent(sent: bool, stdout: bytes, said: PromptSent) -> None:
    assert _of(records(sent=sent, stdout=stdout)).prompt_sent is said
    assert _of(records(sent=sent, stdout=stdout, end=None)).prompt_sent is said


def test_an_answer_before_the_end_was_written_is_kept() -> None:
    found = _of(records(end=None), container_exit=137)
    assert found.reason is Reason.ContainerLost
    assert found.answer is not None


# --- whatever there is ---

ENDS = st.none() | st.builds(
    end,
    cause=st.sampled_from(["completed", "failed", "timeout", "hooks-timeout", "cancelled"]),
    exit_code=st.sampled_from([0, 1, 119, 122, 127, 137, 143]),
    oom=st.booleans(),
)
OUTPUTS = st.sampled_from(
    [
        b"",
        b"garbage",
        result_event(),
        result_event(is_error=True),
        result_event(is_error=True, subtype="error_max_turns"),
        result_event(subtype="error_max_turns"),
    ]
)
RECORDS = st.builds(records, sent=st.booleans(), end=ENDS, stdout=OUTPUTS, stderr_tail=st.sampled_from(["", "a\nb"]))


@given(RECORDS, st.sampled_from([None, 0, 1, 137]), st.booleans(), st.floats(0, 1000))
def test_an_end_is_an_end(what: Records, code: int | None, oom: bool, ran: float) -> None:
    found = _of(what, container_exit=code, oom=oom, ran=ran)
    assert found.reason.status in ("True", "False"), "an attempt that has ended leaves nothing open"
    assert found.message


@given(RECORDS, st.sampled_from([None, 0, 1, 137]), st.booleans(), st.floats(0, 1000))
def test_completed_only_with_everybodys_word(what: Records, code: int | None, oom: bool, ran: float) -> None:
    found = _of(what, container_exit=code, oom=oom, ran=ran)
    if found.reason is Reason.Completed:
        assert what.sent
        assert what.end is not None
        assert what.end.exit_code == 0
        assert what.end.cause not in ("timeout", "cancelled")
        assert found.answer is not None
        assert not found.answer.is_error
