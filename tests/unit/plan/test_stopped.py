"""Attempts that were ended on purpose: because of a cancel, or since nothing was written any more."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from stromboli.models.run import Run
from stromboli.plan import outcome, stopped
from stromboli.plan.attempt import Records
from stromboli.plan.outcome import Outcome
from stromboli.reasons import Reason
from tests.support.builders import NOON, NOTHING_SECRET, end, having, read, records

ASSISTANT = (
    b'{"type":"assistant","message":{"id":"msg_1","model":"claude-a","usage":{"input_tokens":11,"output_tokens":7},'
    b'"content":[]}}\n'
)


def run(**spec: Any) -> Run:
    return read(having(**spec))


def dated(kind: str, minute: int) -> bytes:
    return b'{"type":"%s","timestamp":"2026-01-31T11:%d:00.000Z"}\n' % (kind.encode(), minute)


def judged(run: Run, what: Records, exit_code: int = 143) -> Outcome:
    ended_at = NOON + timedelta(minutes=10)
    found = outcome.of(what, NOTHING_SECRET, container_exit=exit_code, oom=False, timeout=3600.0, ran=600.0)
    return stopped.judged(run, found, what, ended_at)


def ended(cause: str, **fields: Any) -> Records:
    return records(**({"end": end(cause=cause, exit_code=143), "stdout": ASSISTANT} | fields))


def test_a_canceled_agent_keeps_what_it_used() -> None:
    found = judged(run(cancel=True), ended("cancelled"))
    assert found.reason is Reason.Canceled
    assert found.message == "spec.cancel is true: the attempt was ended while the agent was at work, after 1 turn"
    assert found.exit_code == 143
    assert found.answer is not None
    assert found.answer.turns == 1


def test_a_canceled_hook_has_sent_nothing() -> None:
    found = judged(run(cancel=True), ended("cancelled", sent=False, stdout=b""))
    assert found.message.endswith("the attempt was ended before the prompt was sent")
    assert found.prompt_sent == "No"


def test_one_that_did_not_obey_was_killed() -> None:
    found = judged(run(cancel=True, terminationGracePeriod="3s"), records(end=None, stdout=ASSISTANT), 137)
    assert found.reason is Reason.Canceled
    assert found.message.endswith("it did not end within 3s and was killed")


@pytest.mark.parametrize("spec", [{"cancel": True}, {"progressTimeout": "1m"}])
def test_one_that_had_ended_by_itself_keeps_its_end(spec: dict[str, Any]) -> None:
    assert judged(run(**spec), records()).reason is Reason.Completed
    assert judged(run(**spec), ended("timeout")).reason is Reason.TimedOut


def test_a_term_of_somebody_else_is_no_cancel() -> None:
    assert judged(run(), ended("cancelled")).reason is Reason.AgentFailed


def test_no_progress_says_what_was_written_last_and_when() -> None:
    found = judged(run(progressTimeout="2m"), ended("no-progress", written_at=NOON - timedelta(minutes=2)))
    assert found.reason is Reason.NoProgress
    assert found.message == (
        "the CLI wrote nothing for 2m (spec.progressTimeout); its last event was assistant at 2026-01-31T11:58:00Z"
    )
    nothing = judged(run(progressTimeout="2m"), ended("no-progress", stdout=b""))
    assert nothing.message.endswith("it had written nothing at all")


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (dated("assistant", 57), "its last event was assistant at 2026-01-31T11:57:00Z"),
        (b'{"type":"system","subtype":"init"}\n', "its last event was system/init"),
        (b"", "it had written nothing at all"),
    ],
)
def test_what_the_cli_writes_when_it_is_ended_is_no_progress(before: bytes, said: str) -> None:
    """It is told to end, and reports that the tool which it waited for has failed."""
    after = b'{"type":"system","subtype":"task_notification"}\n' * bool(before) + dated("user", 59)
    found = judged(run(progressTimeout="2m"), ended("no-progress", stdout=before + after, written_at=NOON))
    assert found.message == f"the CLI wrote nothing for 2m (spec.progressTimeout); {said}"


def test_one_that_was_killed_since_its_supervisor_did_not_end_it() -> None:
    killed = records(end=None, stdout=ASSISTANT, written_at=NOON)
    assert judged(run(progressTimeout="10m"), killed, 137).reason is Reason.NoProgress
    assert judged(run(progressTimeout="11m"), killed, 137).reason is Reason.ContainerLost
    assert judged(run(), killed, 137).reason is Reason.ContainerLost
