"""Decides whether another attempt follows one that has failed after its prompt may have been sent, and when. Pure.

By itself nothing is sent again: the run's spec has to name the reason (`retryOn`). Attempts that certainly sent nothing
are plan/follow.py's. Both kinds count against `backoffLimit`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from stromboli.grammar import duration, times
from stromboli.models.run import Run
from stromboli.plan import follow
from stromboli.plan.outcome import Outcome
from stromboli.reasons import Reason

# As those of a Job, whose pods are created again after 10 s, 20 s, 40 s and so on, at most six minutes
# (Kubernetes documentation, "Jobs", "Pod backoff failure policy").
FIRST, LONGEST = 10.0, 360.0
JITTER = 0.2  # of the delay, at most, so that runs that failed together are not tried again together


@dataclass(frozen=True, slots=True)
class Again:
    """Another attempt begins at `at`; `message` is the run's until then."""

    at: datetime
    message: str


def decide(run: Run, outcome: Outcome, now: datetime) -> Again | None:
    """Whether another attempt follows the last one of the run, which ended with this outcome; None if none does."""
    number, most = run.status.attempts[-1].number, follow.most(run)
    if run.is_canceled or outcome.reason not in run.retry_on or number >= most:
        return None
    at, given = now + timedelta(seconds=delay(run.uid, number)), ""
    if outcome.reason is Reason.RateLimited and outcome.retry_at is not None and outcome.retry_at > at:
        at, given = outcome.retry_at, ", when the API's limit ends"
    return Again(
        at,
        f"attempt {number} of at most {most} ended with {outcome.reason}: {outcome.message}; the next one begins at "
        f"{times.to_text(at)} (in {duration.format((at - now).total_seconds())}){given}",
    )


def delay(uid: str, number: int) -> float:
    """Seconds from the end of attempt `number` to the next one. The jitter depends on the run and the number only."""
    chance = int.from_bytes(hashlib.sha256(f"{uid}-{number}".encode()).digest()[:4], "big") / 2**32
    return float(min(FIRST * 2.0 ** min(number - 1, 16), LONGEST) * (1 + JITTER * chance))
