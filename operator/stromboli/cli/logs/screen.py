"""Where a followed run is shown: its output on standard output, everything about it on standard error.

Outputs come in steps, each through a renderer of its own: the agent's as a conversation, others as plain text, or both
as the bytes that they are. A terminal is never sent what would steer it.
"""

from __future__ import annotations

import shutil
import sys
import time
from typing import Protocol, TextIO

from stromboli import visible
from stromboli.cli.logs.conversation import Conversation
from stromboli.cli.logs.lines import Plain
from stromboli.cli.logs.output import Piece
from stromboli.cli.logs.state import AGENT

BEAT = 5.0  # seconds between two messages of one reason, where lines cannot be replaced


class _Renderer(Protocol):
    def feed(self, data: bytes) -> str: ...
    def end_line(self) -> str: ...
    def close(self) -> str: ...


class Screen:
    """`raw`: bytes as they are, except on a terminal. `live`: they are read as they are written."""

    def __init__(
        self, *, raw: bool = False, live: bool = False, out: TextIO | None = None, err: TextIO | None = None
    ) -> None:
        self._raw, self._live = raw, live
        self._out, self._err = out or sys.stdout, err or sys.stderr
        self._renderer: _Renderer | None = None
        self._as_is = False
        self._step = ""
        self._header = ""
        self._reason, self._message, self._shown = "", "", 0.0
        self._replaceable = False  # whether the last line is one about the run, on a terminal

    def begin(self, step: str, header: str = "") -> None:
        """An output begins. Its header is shown before its first byte."""
        self.end()
        self._step, self._header = step, header
        self._as_is = self._raw and not self._out.isatty()
        self._renderer = None

    def piece(self, piece: Piece) -> None:
        """A piece of it."""
        if self._header:
            self.note(self._header)
            self._header = ""
        if self._as_is:
            self._settle()
            self._out.flush()
            self._out.buffer.write(piece.data)
            self._out.buffer.flush()
            return
        if self._renderer is None or piece.missing:
            self._finish()
            self._renderer = self._new(inside=piece.missing > 0)
        self._write(self._renderer.feed(piece.data))

    def end(self) -> None:
        """The output has ended."""
        self._finish()

    def break_off(self) -> None:
        """The output may go on, but is not shown any more."""
        if self._renderer is not None:
            self._write(self._renderer.end_line())
            self._renderer = None
        self._settle()

    def note(self, sentence: str) -> None:
        """A line about the run."""
        self._settle()
        self._end_line()
        print(visible.text(sentence), file=self._err, flush=True)

    def condition(self, reason: str, message: str) -> None:
        """How the run stands: said when it changes. A message that only goes on, such as a pull's, replaces the last
        one on a terminal, and is said now and then elsewhere.
        """
        if (reason, message) == (self._reason, self._message):
            return
        now, same = time.monotonic(), reason == self._reason
        sentence = f"{reason}: {message}" if message else reason
        # One that the terminal would break into lines cannot be replaced.
        line = visible.text(" ".join(sentence.split()))
        if self._err.isatty() and len(line) < shutil.get_terminal_size().columns:
            self._end_line()
            start = "\r\x1b[K" if same and self._replaceable else ""
            if not start:
                self._settle()
            print(f"{start}{line}", end="", file=self._err, flush=True)
            self._replaceable = True
        elif not same or now - self._shown >= BEAT:
            self.note(sentence)
        else:
            return
        self._reason, self._message, self._shown = reason, message, now

    def _new(self, *, inside: bool) -> _Renderer:
        if self._step == AGENT and not self._raw:
            return Conversation(time.monotonic if self._live else None, inside=inside)
        return Plain()

    def _finish(self) -> None:
        if self._renderer is not None:
            self._write(self._renderer.close())
            self._renderer = None

    def _write(self, text: str) -> None:
        if text:
            self._settle()
            self._out.write(text)
            self._out.flush()

    def _settle(self) -> None:
        """Nothing replaces the last line any more."""
        if self._replaceable:
            self._replaceable = False
            print(file=self._err, flush=True)

    def _end_line(self) -> None:
        """What is said on standard error begins a line, if both are the same terminal."""
        if self._renderer is not None and self._err.isatty() and self._out.isatty():
            self._write(self._renderer.end_line())
