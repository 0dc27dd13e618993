"""`status.notification` after an attempt, in API form. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from stromboli import visible
from stromboli.grammar import times
from stromboli.models.run import Run
from stromboli.plan.notify import Attempted, Delivered

MAX_ERROR = 1024  # as in the schema


def after(run: Run, attempted: Attempted, following: datetime | None, now: datetime) -> dict[str, Any]:
    """The notification of a run after one more attempt; `following` is when the next one is due."""
    told = run.status.notification
    made: dict[str, Any] = {"attempts": (told.attempts if told else 0) + 1, "lastAttemptTime": times.to_micro(now)}
    if attempted.status is not None:
        made["lastStatusCode"] = attempted.status
    if isinstance(attempted, Delivered):
        return {**made, "deliveryTime": times.to_micro(now)}
    made["lastError"] = visible.text(attempted.error)[:MAX_ERROR]
    return made if following is None else {**made, "nextAttemptTime": times.to_micro(following)}
