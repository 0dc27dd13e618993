"""Parses the messages in the CLI's record of a conversation (one JSON object per line). Pure.

The agent can write to the record too, so anything that is not a message is skipped, and the result is bounded. If there
is more, the newest messages are kept, since a conversation is read from its end.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stromboli import bounds
from stromboli.bounds import Bounds
from stromboli.errors import OutOfBounds
from stromboli.plan.answer import clip
from stromboli.plan.redaction import KEYS

# A prompt, or a tool's result with a picture: large, with few values. With many values, objects would take twenty times
# the size of the line.
MAX_LINE = 4 * 1024 * 1024
MAX_MESSAGES = 10_000
MAX_TEXT = 32 * 1024  # bytes of one message
MAX_TOTAL = 4 * 1024 * 1024  # characters of all messages, including names
MAX_TOOLS = 64
MAX_NAME = 256

_LINE = Bounds(depth=bounds.OBJECT_DEPTH, size=MAX_LINE, values=50_000)

_SPEAKERS = ("user", "assistant")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z")
# The CLI's own notes, and the messages between a sub-agent and its caller.
_ASIDES = ("isMeta", "isSidechain")


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    `role` is user, assistant, tool (the result of one of `tools`) or summary (which replaces earlier messages).
    """

    role: str
    time: str | None
    text: str
    truncated: bool
    tools: tuple[str, ...]

    @property
    def weight(self) -> int:
        return len(self.text) + sum(map(len, self.tools))

    def to_json(self) -> dict[str, Any]:
        """The form in which the read API returns it."""
        return {
            "role": self.role,
            "time": self.time,
            "text": self.text,
            "truncated": self.truncated,
            "tools": list(self.tools),
        }


class Transcript:
    """Parses the record piece by piece, as it arrives; pieces may end inside lines."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._too_long = False
        self._messages: deque[Message] = deque()
        self._total = 0
        self._tools: dict[str, str] = {}  # the id of a call → the tool's name
        self.truncated = False

    def feed(self, piece: bytes) -> None:
        first, *others = piece.split(b"\n")
        self._extend(first)
        for part in others:
            self._end_line()
            self._extend(part)

    def finish(self) -> tuple[Message, ...]:
        """All messages, the oldest first; `truncated` then says whether any are missing."""
        self._end_line()
        return tuple(self._messages)

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
        if event is not None and (message := self._message(event)) is not None:
            self._add(message)
        self._line.clear()
        self._too_long = False

    def _add(self, message: Message) -> None:
        self._messages.append(message)
        self._total += message.weight
        while len(self._messages) > MAX_MESSAGES or self._total > MAX_TOTAL:
            self._total -= self._messages.popleft().weight
            self.truncated = True

    def _message(self, event: Mapping[str, Any]) -> Message | None:
        content = event["message"].get("content")
        blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
        role, texts, tools = str(event["type"]), [], []
        for block in blocks:
            match block:
                case {"type": "text", "text": str(text)}:
                    texts.append(text)
                case {"type": "tool_use", "name": str(name)}:
                    tools.append(_name(name))
                    self._remember(block.get("id"), _name(name))
                case {"type": "tool_result"}:
                    role = "tool"
                    texts += _said(block.get("content"))
                    tools += self._called(block.get("tool_use_id"))
                case {"type": "image" | "document" as kind}:
                    texts.append(f"[{kind}]")
        if not texts and not tools:
            return None
        if event.get("isCompactSummary") is True:
            role = "summary"
        text, cut = KEYS.head("\n".join(texts), MAX_TEXT)
        return Message(role, _time(event.get("timestamp")), text, cut, tuple(dict.fromkeys(tools))[:MAX_TOOLS])

    def _remember(self, call: object, name: str) -> None:
        if isinstance(call, str) and len(call) <= MAX_NAME:
            self._tools[call] = name
            if len(self._tools) > MAX_MESSAGES:
                del self._tools[next(iter(self._tools))]

    def _called(self, call: object) -> Iterator[str]:
        if isinstance(call, str) and call in self._tools:
            yield self._tools[call]


def _event(line: bytes) -> Mapping[str, Any] | None:
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


def _said(content: object) -> Iterator[str]:
    """The texts of a tool's result."""
    if isinstance(content, str):
        yield content
    for block in content if isinstance(content, list) else ():
        match block:
            case {"type": "text", "text": str(text)}:
                yield text
            case {"type": "image" | "document" as kind}:
                yield f"[{kind}]"


def _name(text: str) -> str:
    return clip(text, MAX_NAME)[0]


def _time(value: object) -> str | None:
    return value if isinstance(value, str) and _TIME.fullmatch(value) else None
