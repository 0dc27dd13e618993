"""Line by line, what a long step is doing: what, how much of how much, how long so far.

On a terminal a step is one line that is rewritten; elsewhere (a log, a pipe) plain lines come at a slow beat.
A step that fails raises LocalFailure, whose hint says what to do; how that is shown is the command line's.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from stromboli.errors import LocalFailure

_TERMINAL_BEAT = 0.2  # seconds between two looks at a step
_PLAIN_BEAT = 5.0
_CLEAR = "\r\x1b[K"


class Step:
    """One long step under way. What it tells is shown at the next beat, from a thread of the step's own."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._measure: Callable[[], int] | None = None
        self._total: int | None = None
        self._unit = "MB"
        self._note = ""

    def measured(self, measure: Callable[[], int], total: int | None = None, unit: str = "MB") -> None:
        """Ask `measure` at each beat how much is done. With unit MB, both it and `total` are in bytes."""
        self._measure, self._total, self._unit = measure, total, unit

    def done(self, amount: int, total: int | None = None, unit: str = "MB") -> None:
        """Say how much is done so far."""
        self.measured(lambda: amount, total, unit)

    def note(self, text: str) -> None:
        """Say something of this step that is not a number; it stays in the step's last line."""
        self._note = text

    def text(self) -> str:
        """The step as it stands, without its time: `CLI image: 12 of 184 MB (6 %), note`."""
        parts = [p for p in (self._amount(), self._note) if p]
        return f"{self.what}: {', '.join(parts)}" if parts else self.what

    def _amount(self) -> str:
        if self._measure is None:
            return ""
        done, total = self._measure(), self._total
        if not total:
            return f"{self._scaled(done)} {self._unit} so far"
        percent = min(100, 100 * done // total)
        return f"{self._scaled(done)} of {self._scaled(total)} {self._unit} ({percent} %)"

    def _scaled(self, amount: int) -> str:
        if self._unit != "MB":
            return str(amount)
        return f"{amount / 1e6:.0f}" if amount >= 10_000_000 else f"{amount / 1e6:.1f}"


class Progress:
    """Where steps are shown; one step at a time. `terminal` None means: look at the stream."""

    def __init__(self, stream: TextIO | None = None, *, terminal: bool | None = None) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty() if terminal is None else terminal
        self._lock = threading.Lock()

    def line(self, text: str) -> None:
        """One plain line, for what takes no time."""
        with self._lock:
            print(text, file=self._stream, flush=True)

    @contextmanager
    def step(self, what: str, hint: str = "") -> Iterator[Step]:
        """A step, from its first line to its last. Raises LocalFailure.

        An OSError or a failed subprocess inside becomes a LocalFailure with `hint`; a LocalFailure passes as it is.
        """
        step, began, over = Step(what), time.monotonic(), threading.Event()
        self._show("…", step.what)
        beat = threading.Thread(target=self._beat, args=(step, began, over), daemon=True)
        beat.start()
        try:
            yield step
        except (OSError, subprocess.SubprocessError) as e:
            self._end(over, beat, "✗", step, began)
            raise LocalFailure(f"{what}: {_said(e)}", hint) from e
        except BaseException:  # an interruption, too, ends the line that is being written
            self._end(over, beat, "✗", step, began)
            raise
        self._end(over, beat, "✓", step, began)

    def _beat(self, step: Step, began: float, over: threading.Event) -> None:
        while not over.wait(_TERMINAL_BEAT if self._terminal else _PLAIN_BEAT):
            self._show("…", f"{step.text()}, {_seconds(began)}")

    def _end(self, over: threading.Event, beat: threading.Thread, mark: str, step: Step, began: float) -> None:
        over.set()
        beat.join()
        self._show(mark, f"{step.text()}, {_seconds(began)}", last=True)

    def _show(self, mark: str, text: str, *, last: bool = False) -> None:
        start, end = (_CLEAR, "\n" if last else "") if self._terminal else ("", "\n")
        with self._lock:
            print(f"{start}{mark} {text}", end=end, file=self._stream, flush=True)


def _seconds(began: float) -> str:
    taken = time.monotonic() - began
    return f"{taken:.1f} s" if taken < 10 else f"{taken:.0f} s"


def _said(error: OSError | subprocess.SubprocessError) -> str:
    """The end of what a failed command said, or the error's own words."""
    if isinstance(error, subprocess.CalledProcessError):
        told = error.stderr or error.stdout or ""
        told = told.decode(errors="replace") if isinstance(told, bytes) else told
        lines = [line.strip() for line in told.strip().splitlines() if line.strip()]
        return f"{error.cmd[0]} ended with {error.returncode}" + (f": {' · '.join(lines[-3:])}" if lines else "")
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"{error.filename} is not there"
    return str(error)
