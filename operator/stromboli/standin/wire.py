"""Encodes answers for the Messages API: as a JSON message, as server-sent events, or as an error body. Pure.

The order of events is the documented one: message_start, then for each block content_block_start, deltas and
content_block_stop, then message_delta and message_stop.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from stromboli.standin.answer import Refuse, Say, UseTool

# The same in every answer, so that tests can add them up; distinct values, so that none can be mistaken for another.
USAGE = {
    "input_tokens": 11,
    "output_tokens": 7,
    "cache_creation_input_tokens": 3,
    "cache_read_input_tokens": 5,
}


def error(refusal: Refuse, request_id: str) -> bytes:
    """The body of an API error."""
    inner = {"type": refusal.kind, "message": refusal.message}
    return json.dumps({"type": "error", "error": inner, "request_id": request_id}).encode()


def error_headers(refusal: Refuse, now: float) -> dict[str, str]:
    """The headers by which the API says when to come back; `now` is in seconds since 1970."""
    headers = {}
    if refusal.retry_after is not None:
        headers["retry-after"] = str(round(refusal.retry_after))
    if refusal.limit is not None:
        headers["anthropic-ratelimit-unified-status"] = "rejected"
        headers["anthropic-ratelimit-unified-representative-claim"] = "five_hour"
        headers["anthropic-ratelimit-unified-reset"] = str(round(now + refusal.limit))
    return headers


def message(answer: Say | UseTool, model: str, number: int) -> dict[str, Any]:
    """The complete answer as one message object; `number` makes its IDs unique."""
    return {
        "id": f"msg_standin_{number:08d}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": list(_blocks(answer, number)),
        "stop_reason": "tool_use" if isinstance(answer, UseTool) else "end_turn",
        "stop_sequence": None,
        "usage": USAGE,
    }


def events(answer: Say | UseTool, model: str, number: int) -> Iterator[bytes]:
    """The answer as server-sent events; each slow piece of a Say is an event of its own."""
    whole = message(answer, model, number)
    started = {**whole, "content": [], "stop_reason": None, "usage": {**USAGE, "output_tokens": 1}}
    yield _event("message_start", message=started)
    for block in whole["content"]:
        yield _event("content_block_start", index=0, content_block=_emptied(block))
        for delta in _deltas(answer):
            yield _event("content_block_delta", index=0, delta=delta)
        yield _event("content_block_stop", index=0)
    ending = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield _event("message_delta", delta=ending, usage={"output_tokens": USAGE["output_tokens"]})
    yield _event("message_stop")


def _blocks(answer: Say | UseTool, number: int) -> Iterator[dict[str, Any]]:
    """The answer's content: one block, or none."""
    if isinstance(answer, UseTool):
        yield {
            "type": "tool_use",
            "id": f"toolu_standin_{number:08d}",
            "name": answer.name,
            "input": answer.arguments,
        }
    elif answer.text is not None:
        yield {"type": "text", "text": "".join(_pieces(answer))}


def _emptied(block: dict[str, Any]) -> dict[str, Any]:
    return {**block, "text": ""} if block["type"] == "text" else {**block, "input": {}}


def _deltas(answer: Say | UseTool) -> Iterator[dict[str, Any]]:
    if isinstance(answer, UseTool):
        yield {"type": "input_json_delta", "partial_json": json.dumps(answer.arguments)}
        return
    for piece in _pieces(answer):
        yield {"type": "text_delta", "text": piece}


def _pieces(answer: Say) -> list[str]:
    return [*(f"piece {n + 1} " for n in range(answer.slow_pieces)), answer.text or ""]


def _event(kind: str, **data: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n".encode()
