"""Podman's timestamps → datetimes. Nothing else.

That of an image is its own claim: any time at all.
"""

from __future__ import annotations

from datetime import UTC, datetime

NEVER = "0001-01-01T00:00:00Z"  # Go's zero time


def moment(text: str) -> datetime | None:
    """Parse an RFC 3339 time (nanoseconds are truncated to microseconds); None for `NEVER`, and for a time before 1970
    or after 9999.
    """
    at = datetime.fromisoformat(text)
    try:
        return at if at.astimezone(UTC).year >= 1970 else None
    except OverflowError:
        return None


def moment_of(seconds: int) -> datetime | None:
    """The time so many seconds after 1970; None for 0, and as in `moment`."""
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds > 0 else None
    except (ValueError, OverflowError, OSError):
        return None
