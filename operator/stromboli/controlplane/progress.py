"""Progress of long steps, one line at a time: the step, the amount done, the time elapsed.

This module decides the rate and the wording; the caller's `Report` decides where the lines go.
"""

from __future__ import annotations

import time
from collections.abc import Callable

Report = Callable[[str], None]

EVERY = 5.0  # minimum seconds between two lines of the same step


def silent(line: str) -> None:
    """A `Report` that discards its lines."""


class Stage:
    """One long step. `tick` may be called often: it reports at most once in `every` seconds."""

    def __init__(
        self, report: Report, what: str, *, every: float = EVERY, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._report = report
        self._what = what
        self._every = every
        self._clock = clock
        self._began = self._reported = clock()

    @property
    def seconds(self) -> float:
        """Seconds since the step began."""
        return self._clock() - self._began

    def tick(self, amount: str = "") -> None:
        """Report the amount done so far, unless the last report was too recent."""
        if self._clock() - self._reported >= self._every:
            self._say(amount)

    def done(self, amount: str = "done") -> None:
        """Report the end of the step, always."""
        self._say(amount)

    def _say(self, amount: str) -> None:
        self._reported = self._clock()
        self._report(", ".join(part for part in (f"{self._what}: {amount}", duration(self.seconds)) if part))


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `2 min 10 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
