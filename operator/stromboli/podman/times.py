"""Podman's timestamps → datetimes. Nothing else."""

from __future__ import annotations

from datetime import datetime

NEVER = "0001-01-01T00:00:00Z"  # Go's zero time


def moment(text: str) -> datetime | None:
    """Parse an RFC 3339 time (nanoseconds are truncated to microseconds); None for `NEVER`."""
    at = datetime.fromisoformat(text)
    return None if at.year == 1 else at
