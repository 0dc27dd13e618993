"""Telling a person how a long step goes: what, how much of how much, how long so far. One line at a time.

Here is only the pace and the wording; where the lines go is up to the `Report` that the caller passes in.
"""

from __future__ import annotations

import time
from collections.abc import Callable

Report = Callable[[str], None]

EVERY = 5.0  # seconds between two lines of the same step


def silent(line: str) -> None:
    """The report of those who do not want one."""


class Stage:
    """One long step. `tick` as often as you like, it speaks at most every `every` seconds."""

    def __init__(
        self, report: Report, what: str, *, every: float = EVERY, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._report = report
        self._what = what
        self._every = every
        self._clock = clock
        self._began = self._spoke = clock()

    @property
    def seconds(self) -> float:
        """How long the step has been going."""
        return self._clock() - self._began

    def tick(self, amount: str = "") -> None:
        """Say how far it is, if it is time to."""
        if self._clock() - self._spoke >= self._every:
            self._say(amount)

    def done(self, amount: str = "done") -> None:
        """Say that it is over, in any case."""
        self._say(amount)

    def _say(self, amount: str) -> None:
        self._spoke = self._clock()
        self._report(", ".join(part for part in (f"{self._what}: {amount}", duration(self.seconds)) if part))


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `2 min 10 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
