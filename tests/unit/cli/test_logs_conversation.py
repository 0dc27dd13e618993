"""The CLI's events as people read them; those of hostile output too."""

from __future__ import annotations

import itertools
import json
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.cli.logs.conversation import Conversation
from tests.support.stream_json import ends, init, line, message, pieces, result, says, system, uses

START = "-- Claude Code 2.1.332 with claude-opus-5-5\n"
END = "-- answered after 2 turns, 1.5 s: 38 tokens in (10 cached), 14 out, $0.0004\n"


def told(*lines: bytes, **options: Any) -> str:
    conversation = Conversation(**options)
    return conversation.feed(b"".join(lines)) + conversation.close()


def test_a_whole_conversation() -> None:
    assert told(
        init(), says("I look."), uses("t1", at=1), result("t1", at=3.4), says("It is\nempty.", id="msg_2"), ends()
    ) == (f"{START}I look.\n[Bash] ls / … ok, 2.4 s\nIt is\nempty.\n{END}")


def test_a_tool_use_is_shown_when_it_begins_and_its_line_ends_with_its_outcome() -> None:
    conversation = Conversation()
    assert conversation.feed(uses("t1")) == "[Bash] ls /"
    assert conversation.feed(result("t1", at=1)) == " … ok, 1.0 s\n"
    assert conversation.close() == ""


def test_a_tool_use_is_named_again_if_something_was_said_in_between() -> None:
    conversation = Conversation()
    assert [conversation.feed(uses("t1")), conversation.end_line()] == ["[Bash] ls /", "\n"]
    assert conversation.feed(result("t1", at=1)) == "[Bash] ls / … ok, 1.0 s\n"


def test_tool_uses_side_by_side_are_named_again_by_their_outcomes() -> None:
    first, second = uses("t1"), uses("t2", "Read", {"file_path": "/etc/hosts"})
    assert told(first, second, result("t2", at=1), result("t1", at=2)) == (
        "[Bash] ls /\n[Read] /etc/hosts … ok, 1.0 s\n[Bash] ls / … ok, 2.0 s\n"
    )


def test_one_that_did_not_end_is_said_to_have_no_result() -> None:
    assert told(uses("t1")) == "[Bash] ls / … no result\n"


def test_a_failure_has_its_first_words() -> None:
    failed = result("t1", "<tool_use_error>Exit code 3\noops</tool_use_error>", failed=True, at=1)
    assert told(uses("t1"), failed) == "[Bash] ls / … failed, 1.0 s: Exit code 3 oops\n"
    parts = result("t1", [{"type": "text", "text": "no\x1b[2J"}, {"type": "image"}], failed=True)
    assert told(uses("t1"), parts) == "[Bash] ls / … failed, 0.0 s: no\\x1b[2J\n"


def test_denials() -> None:
    rejected = result("t1", "the rules say no", failed=True, rejected=True)
    assert told(uses("t1"), rejected) == "[Bash] ls / … denied: the rules say no\n"
    event = system("permission_denied", tool_name="Bash", tool_use_id="t1", message="needs approval")
    assert told(uses("t1"), event, result("t1", "x", failed=True)) == "[Bash] ls / … denied: needs approval\n"
    names = [{"tool_name": "Bash"}, {"tool_name": "Write"}, {"tool_name": "Bash"}]
    assert told(ends(permission_denials=names)).splitlines()[1] == "-- denied: 3 tool uses (Bash, Write)"


def test_the_readers_clock_counts_where_events_have_no_time() -> None:
    ticks = itertools.count(step=2.5)
    live = told(uses("t1", at=None), result("t1", at=None), clock=lambda: next(ticks))
    assert live == "[Bash] ls / … ok, 2.5 s\n"
    assert told(uses("t1", at=None), result("t1", at=None)) == "[Bash] ls / … ok\n", "they were read at once"


def test_a_clock_that_was_set_back_gives_no_negative_time() -> None:
    assert told(uses("t1", at=9), result("t1", at=3)) == "[Bash] ls / … ok, 0.0 s\n"


@pytest.mark.parametrize(
    ("name", "given_", "shown"),
    [
        ("Bash", {"command": "a\n  b", "description": "x"}, "[Bash] a b"),
        ("Grep", {"pattern": "x", "path": "/src"}, "[Grep] x"),
        ("Task", {"description": "find it", "prompt": "…", "subagent_type": "Explore"}, "[Task] Explore: find it"),
        ("mcp__db__ask", {"table": "t", "limit": 3}, '[mcp__db__ask] {"table": "t", "limit": 3}'),
        ("Bash", {}, "[Bash]"),
        ("Bash", {"command": "x" * 500}, "[Bash] " + "x" * 120 + " …"),
        ("Bash", {"command": "echo \x1b]0;you\x07"}, "[Bash] echo \\x1b]0;you\\x07"),
        ("B\x1b[2J", {"command": ["no", "text"]}, '[B\\x1b[2J] {"command": ["no", "text"]}'),
    ],
)
def test_what_is_said_about_a_tool_use(name: str, given_: dict[str, Any], shown: str) -> None:
    assert told(uses("t1", name, given_), result("t1")) == f"{shown} … ok, 0.0 s\n"


def test_text_in_pieces_is_shown_as_it_comes_and_not_again_when_it_is_whole() -> None:
    conversation = Conversation()
    shown = [conversation.feed(each) for each in pieces(["It ", "is\n", "empty."])]
    assert shown == ["", "", "It ", "is\n", "empty.", "", "\n", "", ""]
    assert conversation.feed(says("More.", id="msg_2")) == "More.\n"


@pytest.mark.parametrize("named", [True, False])
def test_several_blocks_of_one_message_are_each_shown_once(named: bool) -> None:
    first = pieces(["one"], named=named)[:-2]
    second = pieces(["two"], named=named)[1:]
    assert told(*first, *second, says("three")) == "one\ntwo\nthree\n"


def test_whole_messages_after_their_end_are_not_shown_again() -> None:
    *before, whole, stop, delta, end = pieces(["one", " two"])
    assert told(*before, stop, delta, end, whole) == "one two\n"


def test_who_comes_in_the_middle_of_a_block_sees_it_when_it_is_whole() -> None:
    _, _, _, *rest = pieces(["It ", "is", " so"])
    assert told(*rest) == "It is so\n"


def test_a_tool_between_pieces_has_a_line_of_its_own() -> None:
    start, begin, first, second, *rest = pieces(["one", "two"])
    tool = uses("t9", id="msg_9")
    assert told(start, begin, first, tool, second, *rest) == "one\n[Bash] ls /\ntwo\n"


def test_thinking_and_unknown_events_are_not_shown() -> None:
    thinking = message({"type": "thinking", "thinking": "hm"}, {"type": "redacted_thinking", "data": "x"})
    delta = line(
        {
            "type": "stream_event",
            "event": {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
        }
    )
    others = [system("status", status="requesting"), system("from_the_future"), line({"type": "novelty", "text": "x"})]
    assert told(thinking, delta, *others, line({"type": "user", "message": {"content": "the prompt"}})) == ""


def test_subagents_are_named_and_indented() -> None:
    task = uses("t1", "Task", {"subagent_type": "Explore", "description": "find it"})
    inner = [uses("t2", parent="t1"), result("t2", parent="t1", at=1), says("Found\nit.", parent="t1", id="msg_2")]
    assert told(task, *inner, result("t1", at=4), says("Good.", id="msg_3")) == (
        "[Task] Explore: find it\n"
        "  [Bash] ls / … ok, 1.0 s\n"
        "  Found\n"
        "  it.\n"
        "[Task] Explore: find it … ok, 4.0 s\n"
        "Good.\n"
    )


def test_subagents_side_by_side_are_told_apart() -> None:
    tasks = [uses(name, "Task", {"subagent_type": "Explore", "description": name}) for name in ("a", "b")]
    spoken = [says("from a", parent="a"), says("from b", parent="b"), says("more", parent="b")]
    deeper = [uses("c", "Task", {"description": "c", "subagent_type": "Plan"}, parent="b"), says("deep", parent="c")]
    assert told(*tasks, *spoken, *deeper, says("unknown", parent="x")) == (
        "[Task] Explore: a\n"
        "[Task] Explore: b\n"
        "[Task] Explore: a:\n"
        "  from a\n"
        "[Task] Explore: b:\n"
        "  from b\n"
        "  more\n"
        "  [Task] Plan: c\n"
        "    deep\n"
        "a subagent:\n"
        "  unknown\n"
    )


def test_parents_in_a_circle_end() -> None:
    assert told(uses("a", parent="b"), uses("b", parent="a"), says("x", parent="a")).endswith("      x\n")


@pytest.mark.parametrize(
    ("event", "note"),
    [
        (
            system("api_retry", attempt=1, max_retries=10, retry_delay_ms=549.3, error_status=529, error="overloaded"),
            "the Claude API answers 529 (overloaded): retry 1 of 10 in 0.5 s",
        ),
        (
            system("api_retry", attempt=2, max_retries=10, retry_delay_ms=1e3, error_status=None, error="unknown"),
            "the Claude API cannot be reached (unknown): retry 2 of 10 in 1.0 s",
        ),
        (
            system("compact_boundary", compact_metadata={"trigger": "auto", "pre_tokens": 155_000}),
            "the conversation was compacted (auto); it had 155,000 tokens",
        ),
        (system("compact_boundary"), "the conversation was compacted"),
        (
            line(
                {
                    "type": "rate_limit_event",
                    "rate_limit_info": {
                        "status": "rejected",
                        "resetsAt": 1_796_043_600,
                        "rateLimitType": "five_hour",
                    },
                }
            ),
            "the usage limit five_hour is reached, until 2026-11-30T13:00:00Z",
        ),
        (
            line({"type": "rate_limit_event", "rate_limit_info": {"status": "allowed_warning"}}),
            "the usage limit is near (allowed_warning)",
        ),
    ],
)
def test_what_the_cli_says_about_itself(event: bytes, note: str) -> None:
    assert told(event) == f"-- {note}\n"


def test_limits_that_are_not_reached_are_not_shown() -> None:
    assert told(line({"type": "rate_limit_event", "rate_limit_info": {"status": "allowed"}})) == ""


def test_servers_that_failed_are_named_at_the_start() -> None:
    servers = [{"name": "db", "status": "failed"}, {"name": "ok", "status": "connected"}]
    assert told(init(mcp_servers=servers)) == f"{START}-- MCP server db: failed\n"


def test_a_failed_end() -> None:
    failed = ends(is_error=True, subtype="error_max_turns", num_turns=1, errors=["Reached maximum number of turns (1)"])
    assert told(says("x"), failed) == (
        "x\n-- the CLI reports: Reached maximum number of turns (1)\n"
        "-- failed after 1 turn, 1.5 s: 38 tokens in (10 cached), 14 out, $0.0004\n"
    )


def test_an_answer_that_no_message_had_is_shown_with_the_result() -> None:
    assert told(ends(result="nobody said so")) == f"nobody said so\n{END}"


def test_numbers_that_are_none() -> None:
    wrong = ends(num_turns="x", usage=[], total_cost_usd=float("nan"), duration_ms=-5, permission_denials={})
    assert told(says("x"), wrong) == "x\n-- answered after 0 turns, 0.0 s: 0 tokens in (0 cached), 0 out, $0.0000\n"
    huge = b'{"type":"result","is_error":false,"total_cost_usd":1e999,"duration_ms":' + b"9" * 400 + b"}\n"
    assert "0.0 s" in told(says("x"), huge)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"npm warn something\r\n", "npm warn something\n"),
        (b"\x1b[31mred\x1b[0m \x9b \xff\xfe\n", "\\x1b[31mred\\x1b[0m \\x9b \\xff\\xfe\n"),
        (b"[1, 2]\n", "[1, 2]\n"),
        (b'{"no": "type"}\n', '{"no": "type"}\n'),
        (b'{"type": 3}\n', '{"type": 3}\n'),
        (b'{"type": "assistant", \n', '{"type": "assistant", \n'),
        (b"no end", "no end\n"),
        (b"\n", "\n"),
        (b"", ""),
        ("right \u202eto left".encode(), "right \\u202eto left\n"),
    ],
)
def test_lines_that_are_no_events_are_shown_as_they_are(data: bytes, shown: str) -> None:
    assert told(data) == shown


def test_nothing_that_an_event_says_steers_the_terminal() -> None:
    evil = "\x1b]52;c;x\x07\r\x9b2J\u202e\x00"
    shown = told(
        init(model=evil, mcp_servers=[{"name": evil, "status": evil}]),
        says(evil),
        *pieces([evil, evil], id="msg_2"),
        uses("t", evil, {evil: evil}),
        result("t", evil, failed=True),
        system("api_retry", error=evil),
        system("compact_boundary", compact_metadata={"trigger": evil}),
        ends(errors=[evil], permission_denials=[{"tool_name": evil}]),
    )
    assert not set(shown) & set("\x1b\x07\r\x9b\u202e\x00")


@pytest.mark.parametrize("inside", [True, False])
def test_the_rest_of_a_line_at_the_beginning(inside: bool) -> None:
    shown = told(b'st of an event"}\n', says("whole"), inside=inside)
    assert shown == ("whole\n" if inside else 'st of an event"}\nwhole\n')
    assert told(says("whole"), inside=inside) == "whole\n", "it began with a line"


SAMPLE = [
    init(),
    *pieces(["über ", "🎉\n", "…"]),
    uses("t1"),
    result("t1", "x", failed=True, at=2),
    b"\xff\xfe no \x1b event \xf0\x9f\n",
    uses("t2", "Task", {"subagent_type": "a"}),
    says("a🎉", parent="t2"),
    ends(),
    b"half a character \xf0\x9f",
]


@given(st.lists(st.integers(min_value=0, max_value=len(b"".join(SAMPLE))), max_size=60))
def test_the_same_however_the_bytes_come(cuts: list[int]) -> None:
    data = b"".join(SAMPLE)
    conversation = Conversation()
    at = [0, *sorted(cuts), len(data)]
    shown = "".join(conversation.feed(data[start:end]) for start, end in itertools.pairwise(at)) + conversation.close()
    assert shown == told(data)


def test_the_same_byte_by_byte() -> None:
    conversation = Conversation()
    shown = "".join(conversation.feed(bytes([byte])) for byte in b"".join(SAMPLE)) + conversation.close()
    assert shown == told(*SAMPLE)


@given(st.lists(st.text(st.characters(exclude_characters="\r", codec="utf-8")), min_size=1))
def test_pieces_give_what_the_whole_gives(texts: list[str]) -> None:
    if "".join(texts).strip():
        assert told(*pieces(texts)) == told(says("".join(texts)))


@given(st.binary(max_size=300))
def test_any_bytes_are_shown_or_skipped(data: bytes) -> None:
    told(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["t1", "text"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def _fields(names: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names.split(), JSON))


@given(
    st.sampled_from(["assistant", "user", "system", "stream_event", "result", "rate_limit_event"]),
    st.sampled_from(["init", "api_retry", "compact_boundary", "permission_denied", "success"]),
    _fields(
        "message event parent_tool_use_id timestamp compact_metadata rate_limit_info mcp_servers errors usage "
        "num_turns duration_ms permission_denials tool_result_meta error_status tool_use_id result"
    ),
    JSON,
)
def test_events_with_anything_in_their_fields(kind: str, subtype: str, more: dict[str, Any], content: Any) -> None:
    told(line({"type": kind, "subtype": subtype, **more}))
    told(line({"type": kind, "message": {"id": content, "content": content}, "event": content}))
    block = {"type": "tool_use", "id": "t1", "input": content, "name": content}
    told(line({"type": kind, "message": {"content": [block, {"type": "tool_result", "content": content}]}}))


def _remarkable(count: int) -> Iterator[bytes]:
    """Events of which something is remembered, with long names."""
    for number in range(count):
        name = f"{number}" + "n" * 5_000
        task = {"description": "x" * 2_000, "subagent_type": "y" * 2_000}
        yield uses(name, "z" * 5_000, task, parent=name)
        yield system("permission_denied", tool_use_id=name, message="m" * 5_000)
        yield from pieces(["z"], id=name, parent=name)[:3]


def test_what_is_remembered_has_a_bound() -> None:
    conversation = Conversation()
    lines = list(_remarkable(700))
    tracemalloc.start()
    try:
        for each in lines:
            conversation.feed(each)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1_000_000


def test_ten_megabytes_in_one_line() -> None:
    big = 10_000_000
    assert told(result("t1", "x" * big)) == "[an earlier tool use] … ok\n"
    assert len(told(says("y" * big))) == big + 1
    plain = told(b"z" * big)
    assert plain == "z" * 65_536 + " … (10.0 MB)\n"
    assert told(b"{" + b"z" * big + b"\n", says("next")) == "-- a line of 10.0 MB is not shown\nnext\n"


def test_a_line_without_an_end_is_not_kept() -> None:
    conversation = Conversation()
    chunk = b'{"type": "assistant"' + b"x" * 1_000_000
    began = time.monotonic()
    tracemalloc.start()
    try:
        for _ in range(60):
            assert conversation.feed(chunk) == ""
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 20_000_000
    assert most < 60_000_000
    assert conversation.feed(b"\n" + says("next")) == "-- a line of 60.0 MB is not shown\nnext\n"
    assert time.monotonic() - began < 10


def test_an_event_that_is_nested_too_deeply_or_has_too_many_values() -> None:
    deep = b'{"type":"result","x":' + b"[" * 200_000 + b"]" * 200_000 + b"}\n"
    assert told(says("x"), deep).startswith("x\n-- failed after 0 turns")
    many = b'{"type":"user","x":' + json.dumps([0] * 500_000).encode() + b"}\n"
    assert told(many) == f"-- a line of {len(many) / 1e6 - 1e-6:.1f} MB is not shown\n"
