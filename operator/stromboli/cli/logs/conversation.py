"""The agent's conversation, from the CLI's `--output-format stream-json`, as text for people. Pure.

What is shown: the agent's text as it comes, each tool use in a line with its outcome and its time, denials, failed
requests to the Claude API, compaction, and at the end turns, tokens, cost. What subagents do is indented. Thinking is
not shown, nor events that are not known here: the CLI's next version has others. A line that is no event is shown as it
is. Hostile input: an agent can write to this output. Whatever it writes, only the last line and a bounded number of
names are kept, and nothing of it steers the terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from stromboli import bounds, visible
from stromboli.bounds import Bounds
from stromboli.cli.logs import notes, tools
from stromboli.cli.logs.lines import LINE, Line, Lines, shown
from stromboli.cli.logs.page import Page
from stromboli.cli.logs.tools import ToolResult, ToolUse, identifier
from stromboli.errors import OutOfBounds
from stromboli.models.objects import entries, fields, text

_MAX_KEPT = 256  # tool uses, subagents, denials, messages of which something is remembered
_MAX_INDENT = 3  # levels
_SHOWN = 64 * 1024  # bytes of a line that is no event
_DEPTH = 8  # levels of an event that are read: a content block's input is on the fifth
_EVENT = Bounds(depth=_DEPTH + 1, size=LINE, values=200_000)
_READABLE = Bounds(depth=LINE, size=LINE, values=400_000)


_T = TypeVar("_T")


class Conversation:
    """Renders one attempt's conversation."""

    def __init__(self, clock: Callable[[], float] | None = None, *, inside: bool = False) -> None:
        """`clock` measures tool uses whose events have no time; None if the output is not read as it is written.
        `inside`: the output may begin in the middle of a line.
        """
        self._clock = clock
        self._lines = Lines()
        self._inside = inside
        self._page = Page()
        self._uses: dict[str, ToolUse] = {}
        self._agents: dict[str, ToolUse] = {}  # by the id of the tool use that started the subagent
        self._denied: dict[str, str] = {}
        self._streamed: dict[str, int] = {}  # text blocks that were shown piece by piece, by their message
        self._coming: dict[str, str] = {}  # the message that comes in pieces, by whom it is from
        self._texts: dict[str, bool] = {}  # whether something of the text block that is coming has been shown
        self._waiting = ""  # the tool use whose line is the last one, and open
        self._speaker = ""
        self._said = False

    def feed(self, data: bytes) -> str:
        """The text for these bytes; its last line may be open."""
        for line in self._lines.feed(data):
            self._line(line)
        return self._page.take()

    def end_line(self) -> str:
        """The end of the last line, if something else is to follow."""
        self._own_line()
        return self._page.take()

    def close(self) -> str:
        """The text for the end of the output."""
        for line in self._lines.close():
            self._line(line)
        if self._waiting:
            self._page.write(" … no result")
        self._own_line()
        return self._page.take()

    def _line(self, line: Line) -> None:
        inside, self._inside = self._inside, False
        event = _event(line)
        if event is not None:
            self._event(event)
        elif not line.is_whole or (line.size > _SHOWN and line.data.startswith(b"{")):
            self._note(f"a line of {line.size / 1e6:.1f} MB is not shown")
        elif not inside:
            cut = f" … ({line.size / 1e6:.1f} MB)" if line.size > _SHOWN else ""
            self._own_line()
            self._page.line(shown(line.data[:_SHOWN].removesuffix(b"\r")) + cut)

    def _event(self, event: Mapping[str, Any]) -> None:
        parent = identifier(event.get("parent_tool_use_id"))
        match event.get("type"):
            case "assistant":
                self._message(event, parent)
            case "user":
                self._results(event, parent)
            case "stream_event":
                self._piece(fields(event.get("event")), identifier(event.get("api_message_id")), parent)
            case "system" if event.get("subtype") == "permission_denied":
                _keep(self._denied, identifier(event.get("tool_use_id")), tools.one_line(text(event.get("message"))))
            case "system" | "rate_limit_event":
                for note in notes.of(event):
                    self._note(note)
            case "result":
                self._result(event)

    def _message(self, event: Mapping[str, Any], parent: str) -> None:
        """A whole message, or one of its blocks; text that has been shown already is left out."""
        message = fields(event.get("message"))
        name, at = identifier(message.get("id")), tools.timestamp(event)
        for block in entries(message.get("content")):
            if block.get("type") == "text":
                if shown_already := self._streamed.get(name, 0):
                    self._streamed[name] = shown_already - 1
                else:
                    self._text(text(block.get("text")), parent)
            elif found := tools.begun(block, parent, at, self._now()):
                self._begun(*found)
            elif result := tools.ended(block):
                self._ended(result, event)

    def _results(self, event: Mapping[str, Any], parent: str) -> None:
        for meta in entries(event.get("tool_result_meta")):
            if fields(meta.get("permission_decision")).get("decision") == "reject":
                self._denied.setdefault(identifier(meta.get("id")), "")
        for block in entries(fields(event.get("message")).get("content")):
            if result := tools.ended(block):
                self._ended(result, event)

    def _begun(self, name: str, use: ToolUse) -> None:
        self._speak(use.parent)
        _keep(self._uses, name, use)
        _keep(self._agents, name, use)
        self._page.write(use.label, self._indent(use.parent))
        self._waiting = name

    def _ended(self, result: ToolResult, event: Mapping[str, Any]) -> None:
        use = self._uses.pop(result.use, None)
        denied = self._denied.pop(result.use, None)
        said = tools.outcome(
            use,
            result,
            None if denied is None else denied or result.message,
            tools.timestamp(event),
            self._now(),
        )
        if self._waiting == result.use and self._page.is_open:
            self._waiting = ""
            self._page.write(f"{said}\n")
            return
        parent = use.parent if use else identifier(event.get("parent_tool_use_id"))
        self._speak(parent)
        self._page.line((use.label if use else "[an earlier tool use]") + said, self._indent(parent))

    def _piece(self, event: Mapping[str, Any], name: str, parent: str) -> None:
        """A part of a message. A block whose beginning was not seen is shown when it is whole."""
        match event.get("type"):
            case "message_start":
                _keep(self._coming, parent, identifier(fields(event.get("message")).get("id")))
            case "content_block_start" if fields(event.get("content_block")).get("type") == "text":
                _keep(self._texts, parent, False)
            case "content_block_delta" if parent in self._texts:
                if piece := text(fields(event.get("delta")).get("text")):
                    self._continue(piece, name or self._coming.get(parent, ""), parent)
            case "content_block_stop":
                if self._texts.pop(parent, False):
                    self._own_line()

    def _continue(self, piece: str, name: str, parent: str) -> None:
        begun = self._texts[parent]
        if not begun:
            self._texts[parent] = self._said = True
            _keep(self._streamed, name, self._streamed.get(name, 0) + 1)
        if not begun or self._waiting or self._speaker != parent:
            self._speak(parent)
        self._page.write(visible.text(piece), self._indent(parent))

    def _text(self, whole: str, parent: str) -> None:
        if not whole.strip():
            return
        self._said = True
        self._speak(parent)
        self._page.write(visible.text(whole), self._indent(parent))
        self._own_line()

    def _result(self, event: Mapping[str, Any]) -> None:
        said = text(event.get("result")).strip()
        if said and not self._said:
            self._text(said, "")
        for note in notes.ending(event):
            self._note(note)

    def _note(self, note: str) -> None:
        self._own_line()
        self._speaker = ""
        self._page.line(f"-- {note}")

    def _speak(self, parent: str) -> None:
        """What comes next is from the agent, or from the subagent of that tool use, which is then named."""
        announced = self._waiting == parent
        self._own_line()
        if parent and parent != self._speaker and not announced:
            agent = self._agents.get(parent)
            self._page.line(f"{agent.label if agent else 'a subagent'}:", self._indent(agent.parent if agent else ""))
        self._speaker = parent

    def _own_line(self) -> None:
        self._waiting = ""
        self._page.end_line()

    def _indent(self, parent: str) -> str:
        level = 0
        while parent and level < _MAX_INDENT:
            level += 1
            agent = self._agents.get(parent)
            parent = agent.parent if agent else ""
        return "  " * level

    def _now(self) -> float | None:
        return self._clock() if self._clock is not None else None


def _event(line: Line) -> Mapping[str, Any] | None:
    """The event in a line; None if it is something else, or too large."""
    if not line.is_whole or not line.data.lstrip().startswith(b"{"):
        return None
    try:
        bounds.measure_json(line.data, _READABLE)
        event = bounds.json_document(bounds.cut_json(line.data, _DEPTH), _EVENT)
    except (ValueError, OutOfBounds):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("type"), str) else None


def _keep(known: dict[str, _T], name: str, value: _T) -> None:
    """Remember it as the last one; the oldest is forgotten."""
    known.pop(name, None)
    known[name] = value
    if len(known) > _MAX_KEPT:
        del known[next(iter(known))]
