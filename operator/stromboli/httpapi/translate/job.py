"""An AgentRun as a job. Pure."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache

from stromboli.grammar import times
from stromboli.httpapi.shapes.job import JobAnswer
from stromboli.httpapi.translate import answer
from stromboli.models.objects import NOTHING, Object, entries, moment
from stromboli.models.run import Run, RunStatus
from stromboli.plan import answered
from stromboli.plan.answered import JobStatus
from stromboli.reasons import RunCondition

_KILLED = answered.SIGNALLED + signal.SIGKILL
_NOBODY = Object("", "", "", "", 0, "", None)


def job(run: Run, output: str | None = None) -> JobAnswer:
    """The run as it is now; `output` if it is not what the status has of it."""
    refused = answer.refusal(run)
    return JobAnswer(
        id=run.name,
        status=answered.job_status(run),
        output=(answered.output(run) or None) if output is None else output,
        error=(answer.error(run) if refused is None else refused.error) or None,
        session_id=answered.session_id(run) or None,
        created_at=run.created,
        updated_at=updated(run),
        crash_info=answer.crash_info(run),
    )


def updated(run: Run) -> str:
    """When the state of a run last changed, as far as its status says."""
    return max((times.to_text(when) for when in _changes(run)), default=run.created)


@lru_cache(256)
def possible(succeeded: str, reason: str) -> frozenset[JobStatus]:
    """The states that a run can be in whose condition `Succeeded` has this status and reason: several where it depends
    on how the agent's process has ended, too.
    """
    condition = {"type": RunCondition.Succeeded, "status": succeeded, "reason": reason}
    return frozenset(
        answered.job_status(Run.of(_NOBODY, NOTHING, RunStatus({"conditions": [condition], "attempts": [attempt]})))
        for attempt in ({"exitCode": 1}, {"exitCode": _KILLED})
    )


def _changes(run: Run) -> Iterator[datetime]:
    wire = run.status.wire
    found = [moment(run.created), run.status.completed, run.status.last_output]
    found += [moment(condition.get("lastTransitionTime")) for condition in entries(wire.get("conditions"))]
    found += [when for attempt in run.status.attempts for when in (attempt.started, attempt.finished)]
    return (when for when in found if when is not None)
