"""Server-sent events add up to the same answer as the plain message."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stromboli.standin import wire
from stromboli.standin.answer import Refuse, Say, UseTool


def events(answer: Say | UseTool) -> list[tuple[str, dict[str, Any]]]:
    parsed = []
    for raw in wire.events(answer, "claude-x", 7):
        name, data = raw.decode().removesuffix("\n\n").split("\n")
        parsed.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return parsed


@pytest.mark.parametrize("answer", [Say("hi ✓"), Say("end", slow_pieces=3), UseTool("Bash", {"command": "a\nb"})])
def test_the_events_are_in_the_api_s_order_and_name_themselves(answer: Say | UseTool) -> None:
    names = [name for name, _ in events(answer)]
    deltas = names.count("content_block_delta")
    assert names == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * deltas,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert all(data["type"] == name for name, data in events(answer))


def test_text_comes_in_pieces_that_add_up_to_the_message() -> None:
    answer = Say("end", slow_pieces=3)
    pieces = [data["delta"]["text"] for name, data in events(answer) if name == "content_block_delta"]
    assert pieces == ["piece 1 ", "piece 2 ", "piece 3 ", "end"]
    assert wire.message(answer, "claude-x", 7)["content"] == [{"type": "text", "text": "".join(pieces)}]


def test_a_tool_call_starts_empty_and_is_filled_by_its_delta() -> None:
    answer = UseTool("Bash", {"command": "date"})
    (_, start), (_, delta) = events(answer)[1:3]
    assert start["content_block"]["input"] == {}
    assert json.loads(delta["delta"]["partial_json"]) == {"command": "date"}
    assert wire.message(answer, "claude-x", 7)["stop_reason"] == "tool_use"


def test_usage_is_the_same_in_both_forms() -> None:
    ending = events(Say("x"))[-2][1]
    assert ending["usage"]["output_tokens"] == wire.message(Say("x"), "m", 1)["usage"]["output_tokens"] == 7


def test_an_error_has_the_api_s_shape() -> None:
    body = json.loads(wire.error(Refuse(401, "authentication_error", "no"), "req_1"))
    expected = {"type": "authentication_error", "message": "no"}
    assert body == {"type": "error", "error": expected, "request_id": "req_1"}


def test_an_answer_without_content_has_no_block() -> None:
    assert [name for name, _ in events(Say(None))] == ["message_start", "message_delta", "message_stop"]
    assert wire.message(Say(None), "claude-x", 7)["content"] == []


def test_an_error_says_when_to_come_back() -> None:
    assert wire.error_headers(Refuse(500, "api_error", "m"), 1000.4) == {}
    assert wire.error_headers(Refuse(429, "rate_limit_error", "m", retry_after=30.0), 1000.4) == {"retry-after": "30"}
    assert wire.error_headers(Refuse(429, "rate_limit_error", "m", limit=60.0), 1000.4) == {
        "anthropic-ratelimit-unified-status": "rejected",
        "anthropic-ratelimit-unified-representative-claim": "five_hour",
        "anthropic-ratelimit-unified-reset": "1060",
    }
