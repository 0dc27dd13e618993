"""Hooks: which run and in what order, how long they may take, and how a run ends when one fails."""

from __future__ import annotations

from typing import Any

import pytest

from stromboli.errors import Refused
from stromboli.models.agentrun import StepState
from stromboli.models.lifecycle import Lifecycle
from stromboli.plan import outcome, request
from stromboli.plan.attempt import OUT_UNUSABLE, WORKDIR_UNUSABLE, Hook, StepRecord
from stromboli.plan.outcome import Outcome
from stromboli.reasons import Reason
from tests.support.builders import NOON, NOTHING_SECRET, effective, end, policy, records, spec


def _lifecycle(**fields: Any) -> Lifecycle:
    return Lifecycle.model_validate(fields)


def _step(hook: str, index: int, exit_code: int | None, tail: str = "") -> StepRecord:
    state = StepState.succeeded if exit_code == 0 else StepState.failed
    return StepRecord(hook, index, state, exit_code, NOON, NOON, tail)


def _ended(*steps: StepRecord, cause: str = "failed", code: int = 1, oom: bool = False, **fields: Any) -> Outcome:
    """An attempt that never came to its agent."""
    left = records(sent=False, steps=steps, stdout=b"", end=end(cause=cause, exit_code=code, oom=oom), **fields)
    return outcome.of(left, NOTHING_SECRET, container_exit=code, oom=False, timeout=600.0, ran=5.0)


def test_hooks_are_numbered_within_their_kind() -> None:
    found = request.hooks_of(_lifecycle(postStart=["c"], onCreateCommand=["a", "a"], postCreate=["b"]))
    assert found == (
        Hook("onCreateCommand", 0, "a"),
        Hook("onCreateCommand", 1, "a"),
        Hook("postCreate", 0, "b"),
        Hook("postStart", 0, "c"),
    )


def test_no_lifecycle_is_no_hooks() -> None:
    assert request.hooks_of(None) == ()
    assert request.hooks_of(_lifecycle()) == ()
    assert request.hooks_timeout_of(None) is None
    assert request.hooks_timeout_of(_lifecycle(postStart=["true"])) is None


def test_a_request_has_the_hooks_and_their_time() -> None:
    found = request.build(spec(lifecycle={"postStart": ["c"], "hooksTimeout": "1m30s"}), effective(policy()))
    assert found.hooks == (Hook("postStart", 0, "c"),)
    assert found.hooks_timeout == 90.0


@pytest.mark.parametrize("text", ["5", "1ms", "0s", "soon", "169h"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refusal:
        request.build(spec(lifecycle={"hooksTimeout": text}), effective(policy()))
    assert refusal.value.reason is Reason.InvalidSpec
    assert "spec.lifecycle.hooksTimeout" in refusal.value.message


def test_a_failed_hook_is_named_with_its_code_and_last_lines() -> None:
    found = _ended(_step("onCreateCommand", 0, 0, "fine"), _step("postCreate", 1, 7, "one\nno such file\n"), code=7)
    assert found.reason is Reason.HookFailed
    assert found.message == "a hook failed: postCreate[1], exit code 7; its last lines:\none\nno such file"
    assert found.exit_code == 7
    assert found.answer is None


def test_only_the_last_lines_are_told() -> None:
    found = _ended(_step("postStart", 0, 1, "\n".join(f"line {n}" for n in range(20))))
    assert found.message.endswith("line 18\nline 19")
    assert "line 11" not in found.message
    assert "line 12" in found.message


def test_hooks_that_take_too_long() -> None:
    found = _ended(_step("postStart", 0, 143, "still at it"), cause="hooks-timeout", code=143)
    assert found.reason is Reason.HookFailed
    assert found.message == (
        "the hooks took longer than lifecycle.hooksTimeout: postStart[0], exit code 143; its last lines:\nstill at it"
    )


def test_hooks_that_take_too_long_before_the_first_is_recorded() -> None:
    found = _ended(cause="hooks-timeout", code=143)
    assert found.reason is Reason.HookFailed
    assert found.message == "the hooks took longer than lifecycle.hooksTimeout"


def test_the_runs_own_timeout_in_a_hook() -> None:
    assert _ended(_step("postStart", 0, 143), cause="timeout", code=143).reason is Reason.TimedOut


def test_memory_used_up_in_a_hook() -> None:
    assert _ended(_step("postStart", 0, 137), code=137, oom=True).reason is Reason.OutOfMemory
    assert _ended(_step("postStart", 0, 137), code=137, oom=False).reason is Reason.HookFailed


@pytest.mark.parametrize("code", [WORKDIR_UNUSABLE, OUT_UNUSABLE])
def test_a_hooks_exit_code_is_never_taken_for_the_supervisors(code: int) -> None:
    found = _ended(_step("postStart", 0, code), code=code)
    assert found.reason is Reason.HookFailed
    assert f"postStart[0], exit code {code}" in found.message


@pytest.mark.parametrize(
    ("code", "reason"), [(WORKDIR_UNUSABLE, Reason.InvalidSpec), (OUT_UNUSABLE, Reason.AgentFailed)]
)
def test_a_supervisor_that_gives_up_is_no_failed_hook(code: int, reason: Reason) -> None:
    assert _ended(code=code).reason is reason
