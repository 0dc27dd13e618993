"""Entries of the CLI's record of a conversation (plan/record.py), with all that the CLI says of them. Pure.

A part of them is kept: so many after so many, the oldest first, or the one of an id. Texts are cut, and values left
out, beyond what an entry may have, and beyond what all of them may; secrets are masked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stromboli.plan import record
from stromboli.plan.record import Event, Record
from stromboli.plan.redaction import KEYS, Secrets

MOST = 200  # entries of a part
MAX_ID = 64  # characters of the id of an entry
MAX_NAME = 256  # bytes of a name, and of what else is short
MAX_PATH = 4096  # bytes
_LARGEST = 2**53  # of numbers: what any program can read

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Limit:
    """The most bytes of text, and the most other values, in content and results of tools."""

    text: int
    values: int


EACH = Limit(32 * 1024, 2_000)  # of one entry among several
ALONE = Limit(2 * 1024 * 1024, 50_000)  # of one that was asked for
ALL = Limit(4 * 1024 * 1024, 50_000)  # of all that were


@dataclass(frozen=True, slots=True)
class Wanted:
    """`limit` entries after `offset` others, or the one of an id."""

    offset: int = 0
    limit: int = MOST
    uuid: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry, in the form in which the read API returns it."""

    json: Json


class Part(Record):
    """What was wanted of a record, without `secrets`; `total` is how many entries there are."""

    def __init__(self, wanted: Wanted, secrets: Secrets = KEYS) -> None:
        super().__init__()
        self._secrets = secrets
        self._wanted = wanted
        self._entries: list[Entry] = []
        self._left = ALL
        self.total = 0

    def finish(self) -> tuple[Entry, ...]:
        """Those that were wanted, the oldest first."""
        self.end()
        return tuple(self._entries)

    def _add(self, event: Event) -> None:
        if self._is_wanted(event):
            each = ALONE if self._wanted.uuid else EACH
            room = _Room(min(each.text, self._left.text), min(each.values, self._left.values), self._secrets)
            self._entries.append(Entry(_entry(event, room)))
            self._left = Limit(self._left.text - room.spent.text, self._left.values - room.spent.values)
        self.total += 1

    def _is_wanted(self, event: Event) -> bool:
        if self._wanted.uuid:
            return not self._entries and event.get("uuid") == self._wanted.uuid
        return self._wanted.offset <= self.total < self._wanted.offset + self._wanted.limit


class _Room:
    """What is left for one entry, in which there are no `secrets`."""

    def __init__(self, text: int, values: int, secrets: Secrets) -> None:
        self._secrets = secrets
        self._whole = Limit(text, values)
        self._text, self._values = text, values
        self.cut = False

    @property
    def spent(self) -> Limit:
        return Limit(self._whole.text - self._text, self._whole.values - self._values)

    def text(self, said: str) -> str:
        """As much of a text as there is room for."""
        shown, cut = self._secrets.head(said, self._text)
        self.cut |= cut
        self._text -= len(shown.encode("utf-8", "replace"))
        return shown

    def short(self, found: Mapping[str, Any], field: str, most: int) -> str:
        """The first `most` bytes of a field that is a name, for which there is always room; empty if it is no text."""
        value = found.get(field)
        return self._secrets.head(value, most)[0] if isinstance(value, str) else ""

    def has_value(self) -> bool:
        """Whether there is room for one more value, which is then taken."""
        if self._values <= 0:
            self.cut = True
            return False
        self._values -= 1
        return True

    def value(self, given: Any) -> Any:
        """A JSON value, whose depth is bounded by the line's."""
        match given:
            case str():
                return self.text(given)
            case dict():
                return {self.text(key): self.value(inner) for key, inner in given.items() if self.has_value()}
            case list():
                return [self.value(inner) for inner in given if self.has_value()]
            case float() if not math.isfinite(given):
                return None
            case int() if abs(given) > _LARGEST:
                return self.text(str(given))
            case _:
                return given


def _entry(event: Event, room: _Room) -> Json:
    entry = {
        "uuid": room.short(event, "uuid", MAX_ID),
        "type": event["type"],
        "parentUUID": room.short(event, "parentUuid", MAX_ID),
        "timestamp": record.time(event),
        "cwd": room.short(event, "cwd", MAX_PATH),
        "gitBranch": room.short(event, "gitBranch", MAX_NAME),
        "permissionMode": room.short(event, "permissionMode", MAX_NAME),
        "version": room.short(event, "version", MAX_NAME),
        "content": _content(event["message"], room),
        "toolResult": _tool_result(event.get("toolUseResult"), room),
    }
    return {**entry, "truncated": room.cut}


def _content(message: Mapping[str, Any], room: _Room) -> Json:
    content = message.get("content")
    blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
    return {
        "role": room.short(message, "role", MAX_NAME),
        "model": room.short(message, "model", MAX_NAME),
        "messageID": room.short(message, "id", MAX_NAME),
        "stopReason": room.short(message, "stop_reason", MAX_NAME),
        "usage": _usage(message.get("usage")),
        "blocks": [block for each in blocks if room.has_value() for block in _block(each, room)],
    }


def _block(block: Any, room: _Room) -> Iterator[Json]:
    match block:
        case {"type": "text", "text": str(text)}:
            yield {"type": "text", "text": room.text(text)}
        case {"type": "tool_use"}:
            found = block.get("input")
            yield {
                "type": "tool_use",
                "id": room.short(block, "id", MAX_NAME),
                "name": room.short(block, "name", MAX_NAME),
                "input": room.value(found) if isinstance(found, dict) else {},
            }
        case {"type": "tool_result"}:
            yield {
                "type": "tool_result",
                "toolUseID": room.short(block, "tool_use_id", MAX_NAME),
                "content": room.text("\n".join(record.said(block.get("content")))),
                "isError": block.get("is_error") is True,
            }
        case {"type": "thinking" | "redacted_thinking" | "image" | "document" as kind}:
            yield {"type": kind}


def _tool_result(found: object, room: _Room) -> Json | None:
    """What the CLI has recorded of a command that a tool has run; other tools have other results, in their blocks."""
    if not isinstance(found, dict) or not isinstance(found.get("stdout"), str):
        return None
    stderr = found.get("stderr")
    return {
        "stdout": room.text(found["stdout"]),
        "stderr": room.text(stderr) if isinstance(stderr, str) else "",
        "interrupted": found.get("interrupted") is True,
        "isImage": found.get("isImage") is True,
    }


def _usage(found: object) -> Json | None:
    if not isinstance(found, dict):
        return None
    return {
        "inputTokens": _count(found.get("input_tokens")),
        "outputTokens": _count(found.get("output_tokens")),
        "cacheCreationInputTokens": _count(found.get("cache_creation_input_tokens")),
        "cacheReadInputTokens": _count(found.get("cache_read_input_tokens")),
    }


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST else 0
