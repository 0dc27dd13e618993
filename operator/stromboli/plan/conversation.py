"""Makes messages of the CLI's record of a conversation (plan/record.py), for people. Pure.

The result is bounded. If there is more, the newest messages are kept, since a conversation is read from its end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stromboli.plan import record
from stromboli.plan.answer import clip
from stromboli.plan.record import Event, Record
from stromboli.plan.redaction import KEYS, Secrets

MAX_MESSAGES = 10_000
MAX_TEXT = 32 * 1024  # bytes of one message
MAX_TOTAL = 4 * 1024 * 1024  # characters of all messages, including names
MAX_TOOLS = 64
MAX_NAME = 256


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


class Transcript(Record):
    """The messages of a record, without `secrets`; `truncated` says whether any are missing."""

    def __init__(self, secrets: Secrets = KEYS) -> None:
        super().__init__()
        self._secrets = secrets
        self._messages: deque[Message] = deque()
        self._total = 0
        self._tools: dict[str, str] = {}  # the id of a call → the tool's name

    def finish(self) -> tuple[Message, ...]:
        """All messages, the oldest first."""
        self.end()
        return tuple(self._messages)

    def _add(self, event: Event) -> None:
        if (message := self._message(event)) is not None:
            self._keep(message)

    def _keep(self, message: Message) -> None:
        self._messages.append(message)
        self._total += message.weight
        while len(self._messages) > MAX_MESSAGES or self._total > MAX_TOTAL:
            self._total -= self._messages.popleft().weight
            self.truncated = True

    def _message(self, event: Event) -> Message | None:
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
                    texts += record.said(block.get("content"))
                    tools += self._called(block.get("tool_use_id"))
                case {"type": "image" | "document" as kind}:
                    texts.append(f"[{kind}]")
        if not texts and not tools:
            return None
        if event.get("isCompactSummary") is True:
            role = "summary"
        text, cut = self._secrets.head("\n".join(texts), MAX_TEXT)
        return Message(role, record.time(event), text, cut, tuple(dict.fromkeys(tools))[:MAX_TOOLS])

    def _remember(self, call: object, name: str) -> None:
        if isinstance(call, str) and len(call) <= MAX_NAME:
            self._tools[call] = name
            if len(self._tools) > MAX_MESSAGES:
                del self._tools[next(iter(self._tools))]

    def _called(self, call: object) -> Iterator[str]:
        if isinstance(call, str) and call in self._tools:
            yield self._tools[call]


def _name(text: str) -> str:
    return clip(text, MAX_NAME)[0]
