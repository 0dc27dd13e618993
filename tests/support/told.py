"""A Progress that records its lines, for tests."""

from __future__ import annotations

import io
from collections.abc import Callable

from stromboli.progress import Progress


class Told(Progress):
    """A Progress without a terminal. `on_line` is called with each line after it is recorded."""

    def __init__(self, on_line: Callable[[str], None] = lambda _: None) -> None:
        self.stream = io.StringIO()
        super().__init__(self.stream, terminal=False)
        self._on_line = on_line

    def line(self, text: str) -> None:
        super().line(text)
        self._on_line(text)

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()

    @property
    def done(self) -> list[str]:
        """The last line of each successful step, without its symbol and its time."""
        return [line[2:].rpartition(",")[0] for line in self.lines if line.startswith("✓ ")]
