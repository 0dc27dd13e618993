"""httpapi/translate/answer.py: the status, the words and the numbers of each way in which a run can end."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.httpapi.errors import Refusal
from stromboli.httpapi.translate import answer
from stromboli.models.run import Run
from stromboli.plan import follow, refusal
from stromboli.plan.follow import GiveUp
from stromboli.plan.verdict import Refuse, Wait
from stromboli.reasons import Reason
from tests.support.builders import Modifier, at, having, named, read, result_event

ENDS = {
    Reason.Completed: (200, "completed"),
    Reason.Canceled: (200, "error"),
    Reason.AgentFailed: (200, "error"),
    Reason.PermissionDenied: (200, "error"),
    Reason.MaxTurnsReached: (200, "error"),
    Reason.BudgetExceeded: (200, "error"),
    Reason.RateLimited: (200, "error"),
    Reason.NoProgress: (200, "error"),
    Reason.HookFailed: (200, "error"),
    Reason.ServiceFailed: (200, "error"),
    Reason.OutOfMemory: (200, "crashed"),
    Reason.ContainerLost: (200, "crashed"),
    Reason.InvalidSpec: (400, ""),
    Reason.ImageNotAllowed: (400, ""),
    Reason.ImageIncompatible: (400, ""),
    Reason.PolicyViolation: (400, ""),
    Reason.TimedOut: (408, ""),
    Reason.ImagePullFailed: (502, ""),
    Reason.CredentialsMissing: (503, ""),
}
WAITS = {
    Reason.PodmanUnavailable: 503,
    Reason.CLIImageUnavailable: 503,
    Reason.NodeOutOfDisk: 503,
    Reason.RegistryUnavailable: 502,
}
FINAL = [reason for reason in Reason if reason.status != "Unknown"]
ATTEMPT = {"number": 1, "container": "c", "bootID": "b"}


def with_status(**fields: Any) -> Modifier:
    return lambda obj: {**obj, "status": {**obj.get("status", {}), **fields}}


def attempted(*attempts: dict[str, Any]) -> Modifier:
    return with_status(attempts=[{**ATTEMPT, "number": n, **fields} for n, fields in enumerate(attempts, 1)])


def test_every_way_to_end_has_a_status() -> None:
    assert set(ENDS) == set(FINAL)
    assert not set(WAITS) & set(ENDS)


@pytest.mark.parametrize("reason", FINAL)
def test_each_end_is_answered(reason: Reason) -> None:
    status, word = ENDS[reason]
    run = read(named("run-1"), at(reason, "so it is"))
    assert answer.http_status(run) == status
    if status == 200:
        assert answer.refusal(run) is None
        assert answer.of_run(run).status == word
        assert answer.of_run(run).error == (None if reason is Reason.Completed else "so it is")
    else:
        refused = answer.refusal(run)
        assert refused is not None
        assert (refused.status, refused.error, refused.reason) == (status, "so it is", reason)
        assert refused.details == {"id": "run-1"}


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason.status == "Unknown"])
def test_a_run_that_has_not_ended_is_accepted_and_no_more(reason: Reason) -> None:
    run = read(at(reason))
    assert answer.http_status(run) == 202
    assert answer.refusal(run) is None
    assert answer.crash_info(run) is None


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("sent", ["Yes", "Unknown", None, "?"])
def test_no_5xx_once_the_prompt_may_have_been_sent(reason: Reason, sent: str | None) -> None:
    for attempts in ([{"promptSent": sent}], [{"promptSent": "No"}, {"promptSent": sent}]):
        for message in ("so it is", *(f"gave up after 30m ({each}): x" for each in WAITS)):
            run = read(at(reason, message), attempted(*attempts))
            assert answer.http_status(run) < 500
            if reason in (Reason.ImagePullFailed, Reason.CredentialsMissing):
                assert answer.of_run(run).status == "error"


@pytest.mark.parametrize("reason", [Reason.ImagePullFailed, Reason.CredentialsMissing])
def test_what_was_never_sent_can_be_repeated(reason: Reason) -> None:
    run = read(at(reason), attempted({"promptSent": "No"}))
    assert answer.http_status(run) == ENDS[reason][0]


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason.status == "Unknown"])
def test_a_wait_that_was_too_long_is_answered_with_what_was_missing(reason: Reason) -> None:
    late = follow.out_of_time(read(), None, datetime.now(UTC), Wait(reason, "not (yet): there", 1.0), 5400.0)
    assert isinstance(late, GiveUp)
    assert answer.http_status(read(at(late.reason, late.message))) == WAITS.get(reason, 408)


@pytest.mark.parametrize(
    ("message", "error", "field"),
    [
        ("spec.image: 'a b' is no image", "podman.image: 'a b' is no image", "podman.image"),
        ("spec.claude.maxTurns: is too many", "claude.max_turns: is too many", "claude.max_turns"),
        ("spec.env[1]: A is set twice", "podman.secrets_env.B: A is set twice", "podman.secrets_env.B"),
        ("spec.retryOn[0]: is odd", "is odd", None),
        ("the volume /etc (rw) is not allowed", "the volume /etc (rw) is not allowed", None),
    ],
)
def test_what_is_invalid_has_the_names_of_a_request(message: str, error: str, field: str | None) -> None:
    run = read(
        having(env=[{"name": "A"}, {"name": "B"}], session={"name": "s"}),
        at(Reason.InvalidSpec, refusal.as_outcome(Refuse(Reason.InvalidSpec, message))),
    )
    refused = answer.refusal(run)
    assert refused is not None
    assert refused.error == error
    assert refused.details.get("field") == field
    assert refused.details["session_id"] == "s"
    with pytest.raises(Refusal):
        answer.of_run(run)


def test_what_is_missing_has_the_names_of_a_request_too() -> None:
    said = "spec.env[0].valueFrom: the Secret nosuch is not in namespace default yet"
    run = read(named("run-1"), having(env=[{"name": "TOKEN"}]), at(Reason.WaitingForReference, said))
    refused = answer.missing(run)
    assert refused.error.startswith("podman.secrets_env.TOKEN: the Secret nosuch is not in namespace default yet; ")
    assert "the run run-1 was canceled before its prompt was sent, so it is safe to try again" in refused.error
    assert (refused.status, refused.reason) == (400, "WaitingForReference")
    assert refused.details == {"id": "run-1", "field": "podman.secrets_env.TOKEN"}


def test_a_completed_run_says_all_of_it() -> None:
    run = read(
        named("run-1"),
        having(session={"name": "550e8400"}),
        at(Reason.Completed, "answered in 1 turn"),
        attempted({"promptSent": "Yes", "exitCode": 0}),
        with_status(
            result={"text": "hi", "structured": {"a": None}},
            usage={
                "turns": 1,
                "inputTokens": 1,
                "outputTokens": 2,
                "cacheReadTokens": 4,
                "cacheCreationTokens": 8,
                "costUSD": 0.25,
                "models": [{"model": "haiku", "outputTokens": 1}, {"model": "opus", "outputTokens": 9}],
            },
        ),
    )
    assert json.loads(answer.of_run(run).model_dump_json(exclude_none=True)) == {
        "id": "run-1",
        "status": "completed",
        "output": "hi",
        "structured_output": {"a": None},
        "session_id": "550e8400",
        "usage": {
            "model": "opus",
            "input_tokens": 1,
            "output_tokens": 2,
            "cache_creation_input_tokens": 8,
            "cache_read_input_tokens": 4,
            "total_tokens": 15,
            "estimated_cost_usd": 0.25,
        },
    }
    assert answer.of_run(run, "the whole of it").output == "the whole of it"


def crashed(reason: Reason, attempt: dict[str, Any], **result: Any) -> Run:
    return read(at(reason), attempted({"promptSent": "Unknown", **attempt}), with_status(result=result))


def test_a_crash_says_what_is_known_of_it() -> None:
    info = answer.crash_info(crashed(Reason.OutOfMemory, {"exitCode": 137, "usage": {"turns": 1}}, text="half of"))
    assert info is not None
    assert info.model_dump() == {
        "exit_code": 137,
        "signal": "SIGKILL",
        "reason": "OutOfMemory",
        "partial_output": "half of",
        "task_completed": False,
    }


@pytest.mark.parametrize(
    ("code", "signal"), [(None, None), (1, None), (139, "SIGSEGV"), (143, "SIGTERM"), (128 + 40, "SIG40")]
)
def test_the_signal_of_a_crash(code: int | None, signal: str | None) -> None:
    info = answer.crash_info(crashed(Reason.ContainerLost, {"exitCode": code}))
    assert info is not None
    assert (info.exit_code, info.signal, info.partial_output) == (code, signal, None)


@pytest.mark.parametrize(
    ("used", "result", "completed"),
    [
        ({"costUSD": 0.1}, {"text": "done"}, True),
        ({"costUSD": 0.1}, {"text": "no", "isError": True}, False),
        ({"turns": 3}, {"text": "half of"}, False),
        ({"costUSD": 0.1}, {}, False),
    ],
)
def test_a_task_is_completed_if_the_cli_had_come_to_its_end(used: Any, result: Any, completed: bool) -> None:
    info = answer.crash_info(crashed(Reason.ContainerLost, {"usage": used}, **result))
    assert info is not None
    assert info.task_completed is completed


def test_an_agent_that_a_signal_has_killed_has_crashed() -> None:
    assert answer.of_run(crashed(Reason.AgentFailed, {"exitCode": 137})).status == "crashed"
    assert answer.of_run(crashed(Reason.AgentFailed, {"exitCode": 1})).status == "error"
    assert answer.of_run(crashed(Reason.AgentFailed, {"exitCode": 1})).crash_info is None


def test_without_usage_there_are_no_numbers() -> None:
    assert answer.usage(read(at(Reason.HookFailed))) is None
    assert answer.usage(read(at(Reason.Completed), with_status(usage={"costUSD": True, "models": 3}))) is not None


_wire = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_names = st.sampled_from(["attempts", "result", "usage", "session", "conditions", "notification", "mcpServers"])


@given(st.sampled_from(FINAL), st.dictionaries(_names, _wire))
def test_whatever_a_status_is_there_is_an_answer(reason: Reason, status: dict[str, Any]) -> None:
    run = read(at(reason), with_status(**status))
    if answer.http_status(run) == 200:
        json.loads(answer.of_run(run).model_dump_json(exclude_none=True))
    else:
        answer.refusal(run)


# --- output ---

LINES = (
    b'{"type":"system","subtype":"init","session_id":"11111111-2222-4333-8444-555555555555"}\n'
    b'{"type":"assistant","message":{"content":[{"type":"text","text":"hm"}]},'
    b'"session_id":"11111111-2222-4333-8444-555555555555"}\n'
)


def test_the_forms_of_an_output() -> None:
    event = result_event(result="hi \u2713 \x1b[31m")
    log = LINES + event
    assert answer.of_log(log, "text") == "hi ✓ \\x1b[31m"
    found = answer.of_log(log, "json")
    assert found is not None
    assert json.loads(found) == json.loads(event)
    assert answer.of_log(log, "stream-json") == log.decode()


def test_the_last_result_of_the_own_session_counts() -> None:
    other = result_event(session_id="99999999-2222-4333-8444-555555555555", result="another's")
    assert answer.of_log(LINES + result_event(result="first") + result_event(result="last") + other, "text") == "last"


@pytest.mark.parametrize("log", [b"", LINES, b"not JSON\n", b'{"type": "result"'])
def test_an_output_without_a_result(log: bytes) -> None:
    assert answer.of_log(log, "text") is None
    assert answer.of_log(log, "json") is None
    assert answer.of_log(log, "stream-json") == (log.decode() or None)


def test_a_log_of_which_only_the_end_is_kept() -> None:
    assert answer.of_log(b'ant","message"}\n' + result_event(result="x" * 100_000), "text") == "x" * 100_000


def test_a_result_with_errors_only() -> None:
    log = LINES + result_event(result=None, subtype="error_max_turns", errors=["one", "two"])
    assert answer.of_log(log, "text") == "one\ntwo"


def test_the_log_is_needed_for_what_the_status_does_not_have() -> None:
    short = read(at(Reason.Completed), attempted({}), with_status(result={"text": "hi", "truncated": False}))
    long = read(at(Reason.Completed), attempted({}), with_status(result={"text": "hi", "truncated": True}))
    never = read(at(Reason.ImagePullFailed))
    assert [answer.needs_output(run, "text") for run in (short, long, never)] == [False, True, False]
    assert [answer.needs_output(run, "json") for run in (short, long, never)] == [True, True, False]
