"""Reports attempts that were ended on purpose: because the run was canceled, or because the CLI made no progress. Pure.

plan/outcome.py judges an attempt by what it left; that knows nothing of the run's spec, nor of what the operator did.
What the agent had answered, used and printed by then stays in the outcome.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from stromboli.grammar import duration, times
from stromboli.models.run import Run
from stromboli.plan import follow, progress
from stromboli.plan.attempt import Records
from stromboli.plan.outcome import Outcome
from stromboli.reasons import Reason


def judged(run: Run, outcome: Outcome, records: Records, ended_at: datetime | None) -> Outcome:
    """The outcome of the last attempt of a run, whose container ended at `ended_at`; None if that is unknown.

    An attempt that had ended by itself when it was to be ended keeps its own outcome.
    """
    cause = records.end.cause if records.end is not None else None
    if run.is_canceled and cause in (None, "cancelled"):
        return replace(outcome, reason=Reason.Canceled, message=_canceled(run, outcome, records), retry_at=None)
    limit = run.progress_timeout
    if limit is not None and (
        cause == "no-progress" or (cause is None and _fell_silent(outcome, records, ended_at, limit))
    ):
        return replace(outcome, reason=Reason.NoProgress, message=_no_progress(records, limit), retry_at=None)
    return outcome


def _canceled(run: Run, outcome: Outcome, records: Records) -> str:
    if not records.sent:
        doing = "before the prompt was sent"
    else:
        turns = outcome.answer.turns if outcome.answer is not None else 0
        doing = f"while the agent was at work, after {turns} turn{'s' if turns != 1 else ''}"
    killed = "" if records.end is not None else f"; it did not end within {duration.format(run.grace)} and was killed"
    return f"spec.cancel is true: the attempt was ended {doing}{killed}"


def _fell_silent(outcome: Outcome, records: Records, ended_at: datetime | None, limit: float) -> bool:
    """Whether it was killed after that long without output, since its supervisor did not end it."""
    if outcome.exit_code not in follow.KILLED or ended_at is None or records.written_at is None:
        return False
    return (ended_at - records.written_at).total_seconds() >= limit


def _no_progress(records: Records, limit: float) -> str:
    at, until = records.written_at, None
    if at is not None and records.end is not None and records.end.at is not None:
        silent = records.end.at - timedelta(seconds=limit)
        until = silent if at > silent else None  # what came after that long a silence is about its being ended
    last, said_at = progress.last_event(records.stdout, until)
    at = at if until is None else said_at
    when = "" if at is None else f" at {times.to_text(at)}"
    wrote = f"its last event was {last}{when}" if last else "it had written nothing at all"
    return f"the CLI wrote nothing for {duration.format(limit)} (spec.progressTimeout); {wrote}"
