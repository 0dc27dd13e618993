"""Parses the body of `POST /v1/messages`, keeping only what an answer or a log line needs. Pure.

The format is the Messages API's: `content` is a string or a list of blocks, each with a `type`. Unknown content is
ignored: if the stand-in failed on it, tests would fail for reasons that have nothing to do with what they check.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stromboli import bounds
from stromboli.errors import InvalidInput

# The CLI wraps what it adds to a prompt (the date, project notes) in this tag; such text is not part of the prompt.
_REMINDER = "<system-reminder>"


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool offered by the CLI: its name and the JSON Schema of its input."""

    name: str
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `user_texts` are the complete prompts in order; `tool_result` is set after a tool call."""

    model: str
    stream: bool
    messages: int
    user_texts: tuple[str, ...]
    tool_result: str | None
    system: str
    tools: tuple[Tool, ...]
    effort: str | None

    @property
    def last_user_text(self) -> str:
        """The prompt to answer; empty if there is none."""
        return self.user_texts[-1] if self.user_texts else ""


def parse(raw: bytes) -> Request:
    """Parse a request body. Raises InvalidInput, worded like the API's own errors, if it is not a request."""
    try:
        body = bounds.json_document(raw, bounds.ANSWER)
    except ValueError as e:
        raise InvalidInput("the body is not JSON") from e
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list) or not body["messages"]:
        raise InvalidInput("at least one message is required", "messages")
    messages = [m for m in body["messages"] if isinstance(m, dict)]
    asked = [m for m in messages if m.get("role") == "user"]
    # Newer CLIs put parts of the system prompt into separate messages, also after a tool result.
    system = [m for m in messages if m.get("role") == "system"]
    return Request(
        model=str(body.get("model", "")),
        stream=bool(body.get("stream")),
        messages=len(messages),
        user_texts=tuple(t for m in asked if (t := _prompt(m)).strip()),
        tool_result=_tool_result(asked[-1]) if asked else None,
        system="\n".join([*_texts(body.get("system")), *(t for m in system for t in _texts(m.get("content")))]),
        tools=tuple(_tools(body.get("tools"))),
        effort=_effort(body.get("output_config")),
    )


def _prompt(message: dict[str, Any]) -> str:
    return "\n".join(t for t in _texts(message.get("content")) if not t.lstrip().startswith(_REMINDER))


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    for block in content if isinstance(content, list) else ():
        if isinstance(block, dict) and block.get("type") == "text" and isinstance(block.get("text"), str):
            yield block["text"]


def _tool_result(message: dict[str, Any]) -> str | None:
    content = message.get("content")
    blocks = [b for b in content if isinstance(b, dict)] if isinstance(content, list) else []
    results = [b for b in blocks if b.get("type") == "tool_result"]
    return "\n".join(_texts(results[-1].get("content"))) if results else None


def _tools(tools: Any) -> Iterator[Tool]:
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict) and isinstance(tool.get("name"), str):
            schema = tool.get("input_schema")
            yield Tool(tool["name"], schema if isinstance(schema, dict) else {})


def _effort(output_config: Any) -> str | None:
    effort = output_config.get("effort") if isinstance(output_config, dict) else None
    return effort if isinstance(effort, str) else None
