"""The CLI's record → messages. That the real CLI's record looks like this is tests/contract/test_conversations.py's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.plan import conversation
from stromboli.plan.conversation import MAX_MESSAGES, MAX_TEXT, MAX_TOTAL, Message, Transcript
from stromboli.plan.record import MAX_LINE

TIME = "2026-11-25T06:44:27.270Z"


def entry(kind: str, content: object, **more: object) -> dict[str, Any]:
    return {"type": kind, "message": {"role": kind, "content": content}, "timestamp": TIME, **more}


def lines(*entries: object) -> bytes:
    return b"".join(json.dumps(e).encode() + b"\n" for e in entries)


def read(record: bytes) -> tuple[Message, ...]:
    transcript = Transcript()
    transcript.feed(record)
    return transcript.finish()


def said(record: bytes) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(m.role, m.text, m.tools) for m in read(record)]


def test_who_said_what_with_which_tool() -> None:
    record = lines(
        {"type": "queue-operation", "operation": "enqueue", "timestamp": TIME, "content": "list it"},
        entry("user", "list it"),
        {"type": "api-request-blob", "message": {"role": "user", "content": "list it"}},
        entry("assistant", [{"type": "thinking", "thinking": "hm"}]),
        entry("assistant", [{"type": "text", "text": "I look."}, {"type": "tool_use", "id": "t1", "name": "Bash"}]),
        entry("user", [{"type": "tool_result", "tool_use_id": "t1", "content": "a\nb"}]),
        entry("assistant", [{"type": "text", "text": "Two."}]),
    )
    assert said(record) == [
        ("user", "list it", ()),
        ("assistant", "I look.", ("Bash",)),
        ("tool", "a\nb", ("Bash",)),
        ("assistant", "Two.", ()),
    ]
    assert {m.time for m in read(record)} == {TIME}


@pytest.mark.parametrize("shown", [0, 30, MAX_TEXT - 7, MAX_TEXT - 40])
def test_a_key_that_was_printed_is_masked_before_the_text_is_cut(shown: int) -> None:
    key = "sk-ant-api03-0123456789abcdef0123456789"
    record = lines(entry("user", [{"type": "tool_result", "content": "." * shown + key}]))
    [message] = read(record)
    assert message.text.strip(".") in ("***", "**", "*", "")


def test_a_result_in_blocks_and_pictures() -> None:
    result = [{"type": "text", "text": "it is"}, {"type": "image", "source": {"data": "…"}}]
    record = lines(
        entry("user", [{"type": "image"}, {"type": "text", "text": "what is this?"}]),
        entry("user", [{"type": "tool_result", "tool_use_id": "unknown", "content": result}]),
    )
    assert said(record) == [("user", "[image]\nwhat is this?", ()), ("tool", "it is\n[image]", ())]


@pytest.mark.parametrize("mark", ["isMeta", "isSidechain"])
def test_asides_are_no_part_of_it(mark: str) -> None:
    assert said(lines(entry("user", "x", **{mark: True}), entry("user", "y", **{mark: False}))) == [("user", "y", ())]


def test_a_summary_is_not_what_the_person_said() -> None:
    assert said(lines(entry("user", "so far…", isCompactSummary=True))) == [("summary", "so far…", ())]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"\xff\xfe\x00\x00",
        b'"message"',
        b'["message"]',
        b'{"type":"user","message":"x"}',
        b'{"type":["user"],"message":{}}',
        b'{"type":"user","message":{}}',
        b'{"type":"user","message":{"content":7}}',
        b'{"type":"user","message":{"content":[[],7,null,{},{"type":"text"},{"type":"text","text":[]}]}}',
        b'{"type":"user","message":{"content":[{"type":"tool_use","name":{},"id":[]}]}}',
        b'{"type":"system","message":{"content":"x"}}',
        b'{"type":"user","message":{"content":' + b"[" * 200_000,
        b'{"type":"user","message":{"content":' + b"9" * 10_000 + b"}}",
    ],
    ids=lambda line: repr(line[:40]),
)
def test_what_is_no_message_is_passed_over(line: bytes) -> None:
    assert said(lines(entry("user", "a")) + line + b"\n" + lines(entry("user", "b"))) == [
        ("user", "a", ()),
        ("user", "b", ()),
    ]


@pytest.mark.parametrize("content", [b"[" * 200_000, b"[" + b"[]," * 100_000 + b"0]"])
def test_a_line_that_would_take_too_much_is_left_out_and_that_is_said(content: bytes) -> None:
    transcript = Transcript()
    transcript.feed(b'{"type":"user","message":{"content":' + content + b"}}\n" + lines(entry("user", "b")))
    assert [message.text for message in transcript.finish()] == ["b"]
    assert transcript.truncated


@pytest.mark.parametrize("time", [None, 7, "yesterday", f"{TIME}\n", "\x1b[2J", f"{TIME} " * 100])
def test_a_time_is_one_or_none(time: object) -> None:
    (message,) = read(lines(entry("user", "x") | {"timestamp": time}))
    assert message.time is None


def test_a_line_that_is_not_finished_is_passed_over() -> None:
    record = lines(entry("user", "a"), entry("user", "b"))
    assert said(record[:-10]) == [("user", "a", ())]


def test_half_of_a_surrogate_pair_can_be_shown() -> None:
    (message,) = read(rb'{"type":"user","message":{"content":"a\ud800b"}}')
    assert json.dumps(message.to_json(), ensure_ascii=False).encode()


def test_a_long_text_is_clipped_and_says_so() -> None:
    long, short = read(lines(entry("user", "é" * MAX_TEXT), entry("user", "x" * MAX_TEXT)))
    assert (len(long.text.encode()), long.truncated) == (MAX_TEXT, True)
    assert (len(short.text), short.truncated) == (MAX_TEXT, False)


def test_names_of_tools_have_bounds() -> None:
    calls = [{"type": "tool_use", "id": str(n), "name": f"{n}" * 1000} for n in range(1000, 2000)]
    (message,) = read(lines(entry("assistant", calls)))
    assert len(message.tools) == conversation.MAX_TOOLS
    assert max(map(len, message.tools)) == conversation.MAX_NAME


def test_of_too_many_messages_the_newest_stay() -> None:
    transcript = Transcript()
    transcript.feed(lines(*(entry("user", str(n)) for n in range(MAX_MESSAGES + 3))))
    found = transcript.finish()
    assert (len(found), found[0].text, found[-1].text) == (MAX_MESSAGES, "3", str(MAX_MESSAGES + 2))
    assert transcript.truncated


def test_of_too_much_text_the_newest_stays() -> None:
    transcript = Transcript()
    count = MAX_TOTAL // MAX_TEXT
    for n in range(count + 5):
        transcript.feed(lines(entry("user", f"{n:<{MAX_TEXT}}")))
    found = transcript.finish()
    assert (len(found), found[0].text.strip()) == (count, "5")
    assert transcript.truncated


def test_names_of_tools_count_as_text() -> None:
    transcript = Transcript()
    calls = [{"type": "tool_use", "id": str(n), "name": f"{n:<{conversation.MAX_NAME}}"} for n in range(64)]
    for _ in range(MAX_TOTAL // conversation.MAX_NAME // 64 + 5):
        transcript.feed(lines(entry("assistant", calls)))
    assert sum(m.weight for m in transcript.finish()) == MAX_TOTAL
    assert transcript.truncated


def test_a_line_without_end_is_not_kept() -> None:
    transcript = Transcript()
    transcript.feed(lines(entry("user", "a")))
    for _ in range(3):
        transcript.feed(b"x" * MAX_LINE)
    assert len(transcript._line) <= MAX_LINE
    transcript.feed(b"\n" + lines(entry("user", "b")))
    assert [m.text for m in transcript.finish()] == ["a", "b"]
    assert transcript.truncated


def test_all_of_a_short_one_is_there() -> None:
    transcript = Transcript()
    transcript.feed(lines(entry("user", "a")))
    transcript.finish()
    assert not transcript.truncated


@given(st.lists(st.integers(1, 60), min_size=1, max_size=30))
def test_pieces_of_any_size_are_the_same(sizes: list[int]) -> None:
    record = lines(entry("user", "a"), {"type": "x"}, entry("assistant", [{"type": "text", "text": "bé"}]))
    transcript, rest = Transcript(), record
    for size in sizes:
        transcript.feed(rest[:size])
        rest = rest[size:]
    transcript.feed(rest)
    assert transcript.finish() == read(record)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["type", "text", "name", "id", "content", "tool_use_id"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), _JSON, _JSON), max_size=5))
def test_no_content_is_a_defect(entries: list[tuple[str, Any, Any]]) -> None:
    for message in read(lines(*(entry(kind, content) | {"timestamp": time} for kind, content, time in entries))):
        json.dumps(message.to_json(), ensure_ascii=False).encode()
