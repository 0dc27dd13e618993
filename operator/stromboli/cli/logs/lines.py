"""Bytes of an output as text for a terminal: split into lines, bounded, with control characters made visible. Pure.

What arrives may be cut anywhere, also inside a character; the text does not depend on where. At most LINE bytes are
kept, however long a line is.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass

from stromboli import visible

LINE = 16 * 1024 * 1024  # bytes: a tool's result with an image in it has a few millions


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its line feed: at most LINE bytes of the `size` that it had."""

    data: bytes
    size: int

    @property
    def is_whole(self) -> bool:
        return len(self.data) == self.size


class Lines:
    """Splits a stream into lines."""

    def __init__(self, limit: int = LINE) -> None:
        self._limit = limit
        self._data = bytearray()
        self._size = 0

    def feed(self, data: bytes) -> Iterator[Line]:
        """The lines that end in `data`."""
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._add(end)
            yield self._taken()
        self._add(rest)

    def close(self) -> Iterator[Line]:
        """The last line, if it has no line feed."""
        if self._size:
            yield self._taken()

    def _add(self, data: bytes) -> None:
        self._size += len(data)
        self._data += data[: max(self._limit - len(self._data), 0)]

    def _taken(self) -> Line:
        line = Line(bytes(self._data), self._size)
        self._data, self._size = bytearray(), 0
        return line


def shown(data: bytes) -> str:
    """Bytes as text: control characters, and bytes that are not UTF-8, as visible escapes."""
    return visible.text(data.decode("utf-8", "backslashreplace"))


class Plain:
    """An output that is plain text, such as a hook's: shown as it comes, without waiting for the end of a line."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._held = ""  # a carriage return, which is a part of the line's end if a line feed follows
        self._open = False

    def feed(self, data: bytes) -> str:
        return self._text(self._decoder.decode(data))

    def end_line(self) -> str:
        """The end of the last line, if something else is to follow."""
        was_open, self._open = self._open, False
        return "\n" if was_open else ""

    def close(self) -> str:
        """The rest. The output as a whole then ends with a line feed, unless it is empty."""
        rest = visible.text(self._held + self._decoder.decode(b"", final=True))
        return f"{rest}\n" if rest or self._open else ""

    def _text(self, text: str) -> str:
        text = self._held + text
        self._held = "\r" if text.endswith("\r") else ""
        text = visible.text(text.removesuffix("\r"))
        if text:
            self._open = not text.endswith("\n")
        return text
