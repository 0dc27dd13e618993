"""Shows the progress of the command line's long steps: what is done, how much of how much, and the time so far.

On a terminal the current step is one line, drawn by rich, which is loaded only for that; elsewhere (a log, a pipe)
plain lines are written at long intervals. Control characters and markup in texts of others have no effect. Failures are
raised to the caller, and shown by the command line.
"""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, TextIO

from stromboli import visible
from stromboli.errors import LocalFailure

if TYPE_CHECKING:
    from rich.console import RenderableType

_PLAIN_BEAT = 5.0  # seconds between two plain lines of a step
_REDRAWN = 5  # times a second
_BAR = 10  # characters


class Step:
    """One long step in progress. It is redrawn at intervals, from another thread."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._began = time.monotonic()
        self._measure: Callable[[], int] | None = None
        self._total: int | None = None
        self._unit = "MB"
        self._note = ""

    def measured(self, measure: Callable[[], int], total: int | None = None, unit: str = "MB") -> None:
        """Call `measure` at each redraw for how much is done. With unit MB, both it and `total` are in bytes."""
        self._measure, self._total, self._unit = measure, total, unit

    def done(self, amount: int, total: int | None = None, unit: str = "MB") -> None:
        """Report how much is done so far."""
        self.measured(lambda: amount, total, unit)

    def note(self, text: str) -> None:
        """Add a note to the step, which is also shown in its last line."""
        self._note = text

    @property
    def seconds(self) -> float:
        """The seconds since it began."""
        return time.monotonic() - self._began

    @property
    def percent(self) -> int | None:
        """How much of it is done, None if that is unknown."""
        return min(100, 100 * self._measure() // self._total) if self._measure and self._total else None

    def text(self) -> str:
        """The current state of the step, without its time: `CLI image: 12 of 184 MB (6 %), note`."""
        parts = [p for p in (self._amount(), self._note) if p]
        return f"{self.what}: {', '.join(parts)}" if parts else self.what

    def line(self, mark: str) -> str:
        """The current state of the step in one line."""
        return visible.text(f"{mark} {self.text()}, {duration(self.seconds)}")

    def _amount(self) -> str:
        if self._measure is None:
            return ""
        done = self._scaled(self._measure())
        if not self._total:
            return f"{done} {self._unit} so far"
        return f"{done} of {self._scaled(self._total)} {self._unit} ({self.percent} %)"

    def _scaled(self, amount: int) -> str:
        if self._unit != "MB":
            return str(amount)
        return f"{amount / 1e6:.0f}" if amount >= 10_000_000 else f"{amount / 1e6:.1f}"


class Progress:
    """Shows steps, one at a time, with no other line in between. `terminal` None: find out from the stream."""

    def __init__(self, stream: TextIO | None = None, *, terminal: bool | None = None) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty() if terminal is None else terminal

    def line(self, text: str) -> None:
        """A plain line, for what takes no time."""
        print(visible.text(text), file=self._stream, flush=True)

    @contextmanager
    def step(self, what: str, hint: str | None = None) -> Iterator[Step]:
        """A step, from its first line to its last.

        With a `hint`, an OSError or a failed subprocess inside becomes a LocalFailure with it; other errors pass.
        """
        step = Step(what)
        try:
            with self._drawn(step) if self._terminal else self._printed(step):
                yield step
        except BaseException as e:  # an interruption ends the step's line too
            self.line(step.line("✗"))
            if hint is not None and isinstance(e, OSError | subprocess.SubprocessError):
                raise LocalFailure(f"{what}: {_said(e)}", hint) from e
            raise
        self.line(step.line("✓"))

    def _drawn(self, step: Step) -> AbstractContextManager[object]:
        """The line that is redrawn during the step and removed at its end."""
        from rich.console import Console
        from rich.live import Live

        return Live(
            get_renderable=lambda: _row(step),
            console=Console(file=self._stream, force_terminal=True),
            refresh_per_second=_REDRAWN,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    @contextmanager
    def _printed(self, step: Step) -> Iterator[None]:
        self.line(f"… {step.what}")
        over = threading.Event()
        beat = threading.Thread(target=self._beat, args=(step, over), daemon=True)
        beat.start()
        try:
            yield
        finally:
            over.set()
            beat.join()

    def _beat(self, step: Step, over: threading.Event) -> None:
        while not over.wait(_PLAIN_BEAT):
            self.line(step.line("…"))


def silent() -> Progress:
    """A stream that discards everything."""
    return Progress(io.StringIO(), terminal=False)


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `2 min 10 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _row(step: Step) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    text = Text(step.line("…"), no_wrap=True, overflow="ellipsis")
    if (percent := step.percent) is None:
        return text
    row = Table.grid(padding=(0, 1))
    row.add_row(text, ProgressBar(completed=percent, width=_BAR))
    return row


def _said(error: OSError | subprocess.SubprocessError) -> str:
    """The end of a failed command's output, or the error's own message."""
    if isinstance(error, subprocess.CalledProcessError):
        told = error.stderr or error.stdout or ""
        told = told.decode(errors="replace") if isinstance(told, bytes) else told
        lines = [line.strip() for line in told.strip().splitlines() if line.strip()]
        return f"{error.cmd[0]} ended with {error.returncode}" + (f": {' · '.join(lines[-3:])}" if lines else "")
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"{error.filename} does not exist"
    return str(error)
