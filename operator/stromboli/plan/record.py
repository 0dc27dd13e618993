"""The CLI's record of a conversation: one JSON object per line, of which those that are messages are events. Pure.

The agent can write to the record too, so anything that is not a message is skipped, and lines are bounded. What is
made of the events is in `conversation` and `history`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

from stromboli import bounds
from stromboli.bounds import Bounds
from stromboli.errors import OutOfBounds

# A prompt, or a tool's result with a picture: large, with few values. With many values, objects would take twenty times
# the size of the line.
MAX_LINE = 4 * 1024 * 1024

_LINE = Bounds(depth=bounds.OBJECT_DEPTH, size=MAX_LINE, values=50_000)

_SPEAKERS = ("user", "assistant")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z")
# The CLI's own notes, and the messages between a sub-agent and its caller.
_ASIDES = ("isMeta", "isSidechain")

Event = Mapping[str, Any]


class Record(ABC):
    """Reads the record piece by piece, as it arrives; pieces may end inside lines."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._too_long = False
        self.truncated = False  # whether anything of it was left out

    def feed(self, piece: bytes) -> None:
        first, *others = piece.split(b"\n")
        self._extend(first)
        for part in others:
            self._end_line()
            self._extend(part)

    def end(self) -> None:
        """There are no more pieces."""
        self._end_line()

    @abstractmethod
    def _add(self, event: Event) -> None:
        """Take the next message of the user, the agent or a tool: its `message` is an object."""

    def _extend(self, part: bytes) -> None:
        if self._too_long or len(self._line) + len(part) > MAX_LINE:
            self._too_long = True
            self._line.clear()
        else:
            self._line += part

    def _end_line(self) -> None:
        try:
            event = None if self._too_long else _event(bytes(self._line))
            self.truncated |= self._too_long
        except OutOfBounds:
            event, self.truncated = None, True
        if event is not None:
            self._add(event)
        self._line.clear()
        self._too_long = False


def said(content: object) -> Iterator[str]:
    """The texts of a tool's result."""
    if isinstance(content, str):
        yield content
    for block in content if isinstance(content, list) else ():
        match block:
            case {"type": "text", "text": str(text)}:
                yield text
            case {"type": "image" | "document" as kind}:
                yield f"[{kind}]"


def time(event: Event) -> str | None:
    """When it was said."""
    value = event.get("timestamp")
    return value if isinstance(value, str) and _TIME.fullmatch(value) else None


def _event(line: bytes) -> Event | None:
    """The line, if it is a message of the user, the agent or a tool. Raises OutOfBounds."""
    if b'"message"' not in line:  # nine tenths of a short record are the CLI's own notes (2.1.331), not parsed
        return None
    try:
        event = bounds.json_document(line, _LINE)
    except OutOfBounds:
        raise
    except ValueError:
        return None
    if not isinstance(event, dict) or event.get("type") not in _SPEAKERS or not isinstance(event.get("message"), dict):
        return None
    return None if any(event.get(aside) is True for aside in _ASIDES) else event
