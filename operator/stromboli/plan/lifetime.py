"""How long a session that no run uses is still kept, and its stack still runs. Pure."""

from __future__ import annotations

from datetime import datetime

from stromboli.grammar import duration, times
from stromboli.models.session import Session


def idle_left(last_used: datetime, ttl: float, now: datetime) -> float:
    """Seconds until a stack that no run uses has been idle for `ttl` seconds; 0 or less if it is to be stopped."""
    return ttl - (now - last_used).total_seconds()


def seconds_left(session: Session, now: datetime) -> float | None:
    """Seconds until it has been unused for its time to live, from its creation if it was never used; 0 or less if it is
    to be deleted now, None if it has no time to live.
    """
    if session.ttl is None:
        return None
    last = session.status.last_used or times.from_text(session.created)
    return duration.parse(session.ttl) - (now - last).total_seconds()
