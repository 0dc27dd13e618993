"""How long to leave alone what has just failed. Pure."""

from __future__ import annotations

FIRST_DELAY = 0.5
MAX_DELAY = 30.0


def backoff(failures: int) -> float:
    """Seconds after so many failures in a row: 0.5, 1, 2 … at most 30."""
    doublings = min(max(failures - 1, 0), 16)  # a night of failures is too many for a float
    return float(min(FIRST_DELAY * 2**doublings, MAX_DELAY))
