"""A tool use in one line: what it was asked for, how it ended, how long it took. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stromboli import visible
from stromboli.models.objects import entries, fields, moment, text
from stromboli.progress import duration

SHORT = 120  # characters of a tool's input, and of an error
ID = 128  # characters of an id
NAME = 64  # characters of a tool's name
USES = ("tool_use", "server_tool_use", "mcp_tool_use")  # types of content blocks
_ENDED = "tool_result"  # the end of the types of blocks with a result
# What says most about a tool use, in the input of the CLI's own tools and of most others.
_TELLING = ("command", "file_path", "notebook_path", "pattern", "path", "url", "query", "skill", "subject", "prompt")
_TAGS = re.compile(r"</?tool_use_error>")


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A tool use that has begun: `at` is by the event's own clock, `seen` by the reader's, None if there is none."""

    name: str
    short: str
    parent: str
    at: datetime | None
    seen: float | None

    @property
    def label(self) -> str:
        return f"[{self.name}] {self.short}".rstrip()


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The end of a tool use."""

    use: str
    failed: bool
    message: str


def begun(block: Mapping[str, Any], parent: str, at: datetime | None, seen: float | None) -> tuple[str, ToolUse] | None:
    """The id of a tool use and what it is, if the content block is one."""
    if block.get("type") not in USES:
        return None
    name = one_line(text(block.get("name")) or "tool", NAME)
    return identifier(block.get("id")), ToolUse(name, _short(fields(block.get("input"))), parent, at, seen)


def ended(block: Mapping[str, Any]) -> ToolResult | None:
    """The result in a content block, if there is one."""
    if not text(block.get("type")).endswith(_ENDED):
        return None
    failed = block.get("is_error") is True
    return ToolResult(identifier(block.get("tool_use_id")), failed, _said(block.get("content")) if failed else "")


def outcome(use: ToolUse | None, result: ToolResult, denied: str | None, at: datetime | None, now: float | None) -> str:
    """` … ok, 0.2 s`. `denied` says why the use was not permitted; None if it was."""
    took = _took(use, at, now) if use is not None else ""
    if denied is not None:
        return " … denied" + _because(denied)
    return f" … {'failed' if result.failed else 'ok'}{took}" + (_because(result.message) if result.failed else "")


def one_line(value: str, limit: int = SHORT) -> str:
    """The beginning of a text, on one line."""
    # The end of a long text is not looked at: it may have millions of characters.
    line = " ".join(value[: limit * 8].split())
    cut = len(line) > limit or len(value) > limit * 8
    return visible.text(line[:limit] + " …" if cut else line)


def identifier(value: object) -> str:
    """The id of a message or of a tool use; the real ones have some 30 characters."""
    return text(value)[:ID]


def timestamp(event: Mapping[str, Any]) -> datetime | None:
    """When the event happened, if it says so."""
    return moment(event.get("timestamp"))


def _short(given: Mapping[str, Any]) -> str:
    if "subagent_type" in given:
        return one_line(": ".join(filter(None, (text(given.get("subagent_type")), text(given.get("description"))))))
    found = next((value for key in _TELLING if (value := text(given.get(key)))), None)
    if found is None and given:
        found = json.dumps(given, ensure_ascii=False)
    return one_line(found or "")


def _said(content: object) -> str:
    said = text(content) or " ".join(text(part.get("text")) for part in entries(content))
    return _TAGS.sub("", said[: SHORT * 16])


def _because(message: str) -> str:
    said = one_line(message)
    return f": {said}" if said else ""


def _took(use: ToolUse, at: datetime | None, now: float | None) -> str:
    if use.at is not None and at is not None:
        return f", {duration(max((at - use.at).total_seconds(), 0.0))}"
    if use.seen is not None and now is not None:
        return f", {duration(max(now - use.seen, 0.0))}"
    return ""
