"""How long a session that no run uses is still kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stromboli.kube import objects
from stromboli.plan import lifetime

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
MADE = "2026-01-31T12:00:00Z"


def left(after: timedelta, ttl: str | None, last_used: str | None) -> float | None:
    """Of a session that was created at noon."""
    spec: dict[str, Any] = {} if ttl is None else {"ttlAfterLastUse": ttl}
    status = {} if last_used is None else {"lastUsed": last_used}
    found = objects.session({"metadata": {"name": "s", "creationTimestamp": MADE}, "spec": spec, "status": status})
    return lifetime.seconds_left(found, NOON + after)


@pytest.mark.parametrize(
    ("after", "last_used", "seconds"),
    [
        (timedelta(), None, 3600.0),
        (timedelta(minutes=59), None, 60.0),
        (timedelta(hours=1), None, 0.0),
        (timedelta(hours=2), None, -3600.0),
        (timedelta(hours=2), "2026-01-31T13:30:00Z", 1800.0),
        (timedelta(hours=2), "2026-01-31T13:00:00Z", 0.0),
    ],
)
def test_it_counts_from_the_last_use(after: timedelta, last_used: str | None, seconds: float) -> None:
    assert left(after, "1h", last_used) == seconds


def test_without_a_time_to_live_it_is_kept() -> None:
    assert left(timedelta(days=4000), None, None) is None
