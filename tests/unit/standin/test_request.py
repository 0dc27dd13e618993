"""Bodies of the Messages API, as the real CLI sends them, and others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stromboli.errors import InvalidInput
from stromboli.standin import request
from stromboli.standin.request import Tool


def parse(**body: Any) -> request.Request:
    return request.parse(json.dumps(body).encode())


def test_a_prompt_is_whole_and_what_the_cli_adds_to_it_is_not_in_it() -> None:
    content = [{"type": "text", "text": "<system-reminder>\nno"}, {"type": "text", "text": "  my prompt\n"}]
    asked = parse(model="claude-x", messages=[{"role": "user", "content": content}], stream=True)
    assert asked.user_texts == ("  my prompt\n",)
    assert asked.last_user_text == "  my prompt\n"
    assert (asked.model, asked.stream, asked.messages) == ("claude-x", True, 1)


def test_a_conversation_has_all_its_prompts_in_order() -> None:
    turns = [("user", "one"), ("assistant", "1"), ("user", "two")]
    asked = parse(messages=[{"role": role, "content": text} for role, text in turns])
    assert asked.user_texts == ("one", "two")
    assert asked.tool_result is None


def test_a_tool_result_is_seen_also_when_a_system_message_follows_it() -> None:
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "out"}]}
    messages = [
        {"role": "user", "content": "run it"},
        {"role": "user", "content": [result]},
        {"role": "system", "content": [{"type": "text", "text": "a note"}]},
    ]
    asked = parse(messages=messages)
    assert asked.tool_result == "out"
    assert asked.last_user_text == "run it"


def test_an_old_tool_result_does_not_answer_a_new_prompt() -> None:
    result = {"type": "tool_result", "tool_use_id": "t", "content": "out"}
    messages = [{"role": "user", "content": [result]}, {"role": "user", "content": "next"}]
    assert parse(messages=messages).tool_result is None


def test_the_system_prompt_is_gathered_from_both_its_places() -> None:
    asked = parse(system=[{"type": "text", "text": "A"}], messages=[{"role": "system", "content": "B"}])
    assert asked.system == "A\nB"


def test_tools_and_effort_are_read() -> None:
    tools = [{"name": "Bash", "input_schema": {"type": "object"}}, {"type": "nameless"}]
    asked = parse(messages=[{"role": "user", "content": "x"}], tools=tools, output_config={"effort": "high"})
    assert asked.tools == (Tool("Bash", {"type": "object"}),)
    assert asked.effort == "high"


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"{}", b'{"messages": []}', b'{"messages": "x"}', b"\xff\xfe"])
def test_what_is_no_request_is_refused_with_a_sentence(raw: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"not JSON|at least one message"):
        request.parse(raw)


@pytest.mark.parametrize("message", [3, {}, {"role": "user"}, {"role": "user", "content": [7, {"type": "text"}]}])
def test_odd_messages_hold_no_prompt(message: Any) -> None:
    assert parse(messages=[message]).user_texts == ()
