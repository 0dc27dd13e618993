"""The CLI's record → its entries, a part at a time. The real one is in tests/contract/test_conversations.py."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.plan import history
from stromboli.plan.history import ALL, ALONE, EACH, Limit, Part, Wanted
from stromboli.plan.redaction import Secrets

TIME = "2026-11-25T06:44:27.270Z"
KEY = "sk-ant-api03-0123456789abcdef0123456789"


def event(uuid: str, kind: str = "user", content: object = "hi", **more: object) -> dict[str, Any]:
    message = {"role": kind, "content": content, **more.pop("message", {})}  # type: ignore[dict-item]
    return {"type": kind, "uuid": uuid, "message": message, "timestamp": TIME, **more}


def part(wanted: Wanted, *events: object) -> tuple[list[dict[str, Any]], int, bool]:
    found = Part(wanted)
    for each in events:
        found.feed(json.dumps(each).encode() + b"\n")
    return [entry.json for entry in found.finish()], found.total, found.truncated


def entry(*events: object) -> dict[str, Any]:
    [found], _, _ = part(Wanted(), *events)
    return found


def test_all_that_the_cli_says() -> None:
    asked = event(
        "u1",
        "assistant",
        [
            {"type": "thinking", "thinking": "hm"},
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls", "n": [1, None, True, 0.5]}},
        ],
        parentUuid="u0",
        cwd="/workspace",
        gitBranch="main",
        permissionMode="plan",
        version="2.1.331",
        sessionId="other",
        message={
            "id": "msg_1",
            "model": "claude",
            "stop_reason": "tool_use",
            "usage": {"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": 5, "service_tier": "x"},
        },
    )
    assert entry(asked) == {
        "uuid": "u1",
        "type": "assistant",
        "parentUUID": "u0",
        "timestamp": TIME,
        "cwd": "/workspace",
        "gitBranch": "main",
        "permissionMode": "plan",
        "version": "2.1.331",
        "content": {
            "role": "assistant",
            "model": "claude",
            "messageID": "msg_1",
            "stopReason": "tool_use",
            "usage": {
                "inputTokens": 3,
                "outputTokens": 4,
                "cacheCreationInputTokens": 0,
                "cacheReadInputTokens": 5,
            },
            "blocks": [
                {"type": "thinking"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls", "n": [1, None, True, 0.5]}},
            ],
        },
        "toolResult": None,
        "truncated": False,
    }


def test_secrets_are_masked_wherever_they_stand() -> None:
    secret = "tell-nobody-it"
    call = {"type": "tool_use", "id": "t1", "name": "Bash", "input": {secret: [f"echo {secret}"]}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": secret}]}
    said = event("u1", content=[{"type": "text", "text": secret}, call, result], cwd=f"/{secret}")
    found = Part(Wanted(), Secrets([secret]))
    found.feed(json.dumps({**said, "toolUseResult": {"stdout": secret, "stderr": secret}}).encode() + b"\n")
    [shown] = found.finish()
    assert secret not in json.dumps(shown.json)
    assert shown.json["content"]["blocks"][1]["input"] == {"***": ["echo ***"]}


def test_what_a_tool_has_answered() -> None:
    result = {"type": "tool_result", "tool_use_id": "t1", "is_error": True, "content": [{"type": "text", "text": "a"}]}
    found = entry(event("u1", content=[result], toolUseResult={"stdout": "a", "stderr": "b", "interrupted": True}))
    assert found["content"]["blocks"] == [{"type": "tool_result", "toolUseID": "t1", "content": "a", "isError": True}]
    assert found["toolResult"] == {"stdout": "a", "stderr": "b", "interrupted": True, "isImage": False}
    assert entry(event("u2", toolUseResult="Error: no"))["toolResult"] is None


def test_parts_are_counted_from_the_oldest_without_notes_and_asides() -> None:
    events = [event(f"u{n}") for n in range(5)]
    events[2:2] = [{"type": "queue-operation"}, event("no", isSidechain=True), event("no", isMeta=True)]

    def uuids(wanted: Wanted) -> list[str]:
        found, total, truncated = part(wanted, *events)
        assert (total, truncated) == (5, False)
        return [each["uuid"] for each in found]

    assert uuids(Wanted()) == ["u0", "u1", "u2", "u3", "u4"]
    assert uuids(Wanted(1, 2)) == ["u1", "u2"]
    assert uuids(Wanted(4, 2)) == ["u4"]
    assert uuids(Wanted(5, 2)) == []
    assert uuids(Wanted(uuid="u3")) == ["u3"]
    assert uuids(Wanted(uuid="u9")) == []


def test_of_an_id_that_two_have_the_first_is_meant() -> None:
    found, _, _ = part(Wanted(uuid="u"), event("u", content="a"), event("u", content="b"))
    assert [each["content"]["blocks"][0]["text"] for each in found] == ["a"]


@pytest.mark.parametrize("wanted", [Wanted(), Wanted(uuid="u0")])
def test_keys_are_masked_wherever_they_are(wanted: Wanted) -> None:
    blocks = [
        {"type": "text", "text": KEY},
        {"type": "tool_use", "id": KEY, "name": KEY, "input": {KEY: [KEY]}},
        {"type": "tool_result", "content": KEY},
    ]
    found = part(wanted, event("u0", content=blocks, cwd=KEY, toolUseResult={"stdout": KEY, "stderr": KEY}))
    assert "***" in str(found)
    assert "sk-ant" not in str(found)


def test_of_several_each_is_cut_and_of_one_more_is_shown() -> None:
    long = event("u0", content=[{"type": "text", "text": "é" * EACH.text}, {"type": "text", "text": "more"}])
    found = entry(long)
    assert found["truncated"]
    assert [len(block["text"].encode()) for block in found["content"]["blocks"]] == [EACH.text, 0]
    [alone], _, _ = part(Wanted(uuid="u0"), long)
    assert not alone["truncated"]
    assert alone["content"]["blocks"][1]["text"] == "more"
    [cut], _, _ = part(Wanted(uuid="u0"), event("u0", content="x" * (ALONE.text + 1)))
    assert (cut["truncated"], len(cut["content"]["blocks"][0]["text"])) == (True, ALONE.text)


def test_a_value_with_many_others_loses_the_rest() -> None:
    many = [{"type": "tool_use", "id": "t", "name": "n", "input": {"of": list(range(EACH.values + 5))}}]
    found = entry(event("u0", content=many))
    assert found["truncated"]
    assert len(found["content"]["blocks"][0]["input"]["of"]) == EACH.values - 2
    assert len(entry(event("u0", content=[{"type": "image"}] * 5000))["content"]["blocks"]) == EACH.values


def test_all_of_a_part_has_a_limit_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "ALL", Limit(10, ALL.values))
    found, total, _ = part(Wanted(), *[event(f"u{n}", content="12345678") for n in range(3)])
    assert [each["content"]["blocks"][0]["text"] for each in found] == ["12345678", "12", ""]
    assert ([each["truncated"] for each in found], total) == ([False, True, True], 3)


def test_numbers_that_not_everybody_can_read_are_texts() -> None:
    line = b'{"type":"user","uuid":"u","message":{"content":[{"type":"tool_use","input":{"a":1e999,"b":%s,"c":NaN}}]}}'
    found = Part(Wanted())
    found.feed(line % (b"9" * 30))
    [only] = found.finish()
    assert only.json["content"]["blocks"][0]["input"] == {"a": None, "b": "9" * 30, "c": None}


_NAMES = [
    "type",
    "text",
    "name",
    "id",
    "content",
    "tool_use_id",
    "input",
    "is_error",
    "usage",
    "input_tokens",
    "stdout",
]
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["text", "tool_use"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=5),
    max_leaves=12,
)


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), _JSON, _JSON, _JSON), max_size=5))
def test_whatever_an_agent_writes_there_is_an_entry(entries: list[tuple[str, Any, Any, Any]]) -> None:
    events = [
        {
            "type": kind,
            "uuid": other,
            "timestamp": other,
            "cwd": other,
            "toolUseResult": result,
            "message": {"content": content, "role": other, "usage": result},
        }
        for kind, content, result, other in entries
    ]
    found, total, _ = part(Wanted(), *events)
    assert total == len(events) == len(found)
    json.dumps(found, allow_nan=False).encode()
