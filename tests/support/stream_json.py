"""Events of the CLI's `--output-format stream-json`, each as one line, with the fields that the real CLI gives them.

Times are seconds after the start of an hour.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

MODEL = "claude-opus-5-5"


def line(event: Mapping[str, Any]) -> bytes:
    return json.dumps(event, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


def init(**more: Any) -> bytes:
    started = {"type": "system", "subtype": "init", "model": MODEL, "claude_code_version": "2.1.332"}
    return line({**started, "cwd": "/work", "tools": ["Bash"], "mcp_servers": [], **more})


def system(subtype: str, **more: Any) -> bytes:
    return line({"type": "system", "subtype": subtype, "session_id": "s", **more})


def message(*blocks: Mapping[str, Any], id: str = "msg_1", parent: str | None = None, at: float | None = 0) -> bytes:
    said = {"id": id, "type": "message", "role": "assistant", "model": MODEL, "content": list(blocks)}
    return line({"type": "assistant", "message": said, "parent_tool_use_id": parent, **_at(at)})


def says(text: str, **more: Any) -> bytes:
    return message({"type": "text", "text": text}, **more)


def uses(use: str, name: str = "Bash", given: Mapping[str, Any] | None = None, **more: Any) -> bytes:
    block = {"type": "tool_use", "id": use, "name": name, "input": {"command": "ls /"} if given is None else given}
    return message(block, **more)


def result(
    id: str,
    content: object = "done",
    *,
    failed: bool = False,
    rejected: bool = False,
    parent: str | None = None,
    at: float | None = 0,
) -> bytes:
    block = {"type": "tool_result", "tool_use_id": id, "content": content, "is_error": failed}
    decision = {"decision": "reject" if rejected else "accept", "source": "config"}
    about = [{"id": id, "permission_decision": decision}]
    return line(
        {
            "type": "user",
            "message": {"role": "user", "content": [block]},
            "parent_tool_use_id": parent,
            "tool_result_meta": about,
            **_at(at),
        }
    )


def pieces(texts: Sequence[str], *, id: str = "msg_1", parent: str | None = None, named: bool = True) -> list[bytes]:
    """A message with one text block in pieces, as with --include-partial-messages; the whole comes before its end."""

    def event(inner: Mapping[str, Any]) -> bytes:
        name = {"api_message_id": id} if named else {}
        return line({"type": "stream_event", "event": inner, "parent_tool_use_id": parent, **name})

    deltas = [
        event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})
        for text in texts
    ]
    return [
        event({"type": "message_start", "message": {"id": id, "role": "assistant", "content": []}}),
        event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        *deltas,
        says("".join(texts), id=id, parent=parent),
        event({"type": "content_block_stop", "index": 0}),
        event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}),
        event({"type": "message_stop"}),
    ]


def ends(**more: Any) -> bytes:
    used = {"input_tokens": 22, "cache_creation_input_tokens": 6, "cache_read_input_tokens": 10, "output_tokens": 14}
    done = {"type": "result", "subtype": "success", "is_error": False, "num_turns": 2, "result": "done", "usage": used}
    return line({**done, "duration_ms": 1500, "total_cost_usd": 0.0004, "permission_denials": [], **more})


def _at(seconds: float | None) -> dict[str, str]:
    if seconds is None:
        return {}
    minutes, rest = divmod(seconds, 60)
    return {"timestamp": f"2026-11-30T13:{int(minutes):02}:{rest:06.3f}Z"}
