"""Exponential backoff: how long to wait before retrying. Pure."""

from __future__ import annotations

FIRST_DELAY = 0.5
MAX_DELAY = 30.0


def backoff(failures: int) -> float:
    """Seconds to wait after this many consecutive failures: 0.5, 1, 2 … at most 30."""
    doublings = min(max(failures - 1, 0), 16)  # more would overflow a float after a night of failures
    return float(min(FIRST_DELAY * 2**doublings, MAX_DELAY))
