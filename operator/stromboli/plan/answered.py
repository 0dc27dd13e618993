"""What a run is in the words of Stromboli's HTTP API: its status, its output, its error, its session. Pure.

Notifications (plan/notify.py) and the HTTP API say the same of a run, so both ask here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

from stromboli.models.run import Run
from stromboli.reasons import Reason

# A process that a signal has killed ends with this and the signal's number (POSIX shells, and containers).
SIGNALLED = 128
_LAST_SIGNAL = 64


class JobStatus(StrEnum):
    """The states of a job."""

    pending = "pending"
    running = "running"
    completed = "completed"
    failed = "failed"
    crashed = "crashed"
    cancelled = "cancelled"


_AT_WORK = frozenset({Reason.Starting, Reason.RunningHooks, Reason.Running, Reason.Canceling, Reason.Retrying})
_GAVE_UP = re.compile(r"gave up after [^ ()]+ \((?P<reason>[A-Za-z]+)\): ")  # as follow.out_of_time says it
_ABOUT_THE_NODE: Mapping[str, Reason] = {reason: reason for reason in (Reason.PodmanUnavailable, Reason.NodeOutOfDisk)}
_CRASHES = frozenset({Reason.OutOfMemory, Reason.ContainerLost})


def job_status(run: Run) -> JobStatus:
    """The state of a run as a job."""
    status = run.status
    if not status.is_finished:
        return JobStatus.running if status.reason in _AT_WORK else JobStatus.pending
    if status.reason == Reason.Completed:
        return JobStatus.completed
    if status.reason == Reason.Canceled:
        return JobStatus.cancelled
    return JobStatus.crashed if is_crash(run) else JobStatus.failed


def is_crash(run: Run) -> bool:
    """Whether the run has ended because its agent was killed, or lost, and not by a decision of anybody."""
    reason = run.status.reason
    return reason in _CRASHES or (reason == Reason.AgentFailed and signal(run) is not None)


def signal(run: Run) -> int | None:
    """The number of the signal that has ended the last attempt; None if it was none, or that is not known."""
    code = exit_code(run)
    return code - SIGNALLED if code is not None and SIGNALLED < code <= SIGNALLED + _LAST_SIGNAL else None


def exit_code(run: Run) -> int | None:
    """The exit code of the last attempt; None if it has none, or is still at work."""
    return run.status.attempts[-1].exit_code if run.status.attempts else None


def output(run: Run) -> str:
    """The agent's last message, as far as the status has it."""
    return run.status.answer


def error_text(run: Run) -> str:
    """Why the run has not succeeded; empty if it has, or goes on. It goes to people who may not know the node, so what
    is wrong with that is not said in its own words, which have paths.
    """
    if not run.status.is_finished or run.status.reason == Reason.Completed:
        return ""
    found = _gave_up(run)
    if found is not None and (reason := _ABOUT_THE_NODE.get(found["reason"])) is not None:
        return found[0] + reason.text
    return run.status.message


def wait_text(run: Run) -> str:
    """What a run waits for, to the same people."""
    reason = _ABOUT_THE_NODE.get(run.status.reason)
    return run.status.message if reason is None else reason.text


def waited_for(run: Run) -> str:
    """The reason for which a run had waited until its time was over; empty for any other end."""
    found = _gave_up(run)
    return "" if found is None else found["reason"]


def _gave_up(run: Run) -> re.Match[str] | None:
    return _GAVE_UP.match(run.status.message) if run.status.reason == Reason.TimedOut else None


def session_id(run: Run) -> str:
    """The session that the run continues, which another call can resume; empty for a run without one."""
    return run.session
