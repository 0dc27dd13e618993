"""The CLI's stream-json, as it was seen (2.1.331) and as an agent may have spoilt it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.plan import answer
from stromboli.plan.answer import Answer
from tests.support.builders import NOTHING_SECRET, result_event
from tests.unit import forks
from tests.unit.forks import Forks
from tests.unit.plan.hostile_answers import OUTPUTS

INIT = b'{"type":"system","subtype":"init","cwd":"/w","tools":["Bash"],"model":"claude-opus"}\n'
TURN = b'{"type":"assistant","message":{"content":[{"type":"text","text":"a \\"result\\" for you"}]}}\n'
TOOL = b'{"type":"user","message":{"content":[{"type":"tool_result","content":"date"}]},"result":"no"}\n'


def _parsed(output: bytes) -> Answer:
    found = answer.parse(output, NOTHING_SECRET)
    assert found is not None
    return found


def _of(**fields: Any) -> Answer:
    return _parsed(INIT + TURN + result_event(**fields))


def test_an_answer() -> None:
    assert _of() == Answer(
        subtype="success",
        is_error=False,
        text="hi ✓",
        truncated=False,
        structured=None,
        session_id="11111111-2222-4333-8444-555555555555",
        turns=1,
        input_tokens=11,
        output_tokens=7,
        cache_read_tokens=5,
        cache_creation_tokens=3,
        cost_usd=0.0002,
        api_seconds=0.043,
        unfit="there is no structured answer",
    )


# Shapes of real results: what was asked for, the fields that differ.
SEEN: dict[str, tuple[dict[str, Any], bool, str]] = {
    "error_max_turns": (
        {
            "subtype": "error_max_turns",
            "is_error": True,
            "result": None,
            "errors": ["Reached maximum number of turns (1)"],
            "num_turns": 2,
        },
        True,
        "Reached maximum number of turns (1)",
    ),
    "error_max_budget_usd": (
        {
            "subtype": "error_max_budget_usd",
            "is_error": True,
            "result": None,
            "errors": ["Reached maximum budget ($0.0001)"],
        },
        True,
        "Reached maximum budget ($0.0001)",
    ),
    "no conversation": (
        {
            "subtype": "error_during_execution",
            "is_error": True,
            "result": None,
            "errors": ["No conversation found with session ID: 9"],
            "num_turns": 0,
        },
        True,
        "No conversation found with session ID: 9",
    ),
    "API error": (
        {"is_error": True, "result": "API Error: 529 overloaded", "api_error_status": 529, "total_cost_usd": 0},
        True,
        "API Error: 529 overloaded",
    ),
    "unknown model": ({"is_error": True, "result": "There's an issue with the selected model"}, True, "There's an"),
    "json schema": ({"result": '{"ok":false}', "structured_output": {"ok": False}, "num_turns": 2}, False, '{"ok":f'),
}


@pytest.mark.parametrize("shape", SEEN)
def test_seen(shape: str) -> None:
    fields, is_error, text = SEEN[shape]
    found = _of(**fields)
    assert found.is_error is is_error
    assert found.text.startswith(text)
    assert found.subtype == fields.get("subtype", "success")


def test_two_errors_are_two_lines() -> None:
    assert _of(result=None, errors=["a", {"b": 1}, "c"]).text == "a\nc"


@pytest.mark.parametrize("value", [{"a": 1}, ["success"], 1, None])
def test_a_word_that_is_none_is_empty(value: Any) -> None:
    found = _of(subtype=value, session_id=value)
    assert (found.subtype, found.session_id) == ("", "")


def test_a_word_has_a_bound() -> None:
    assert _of(subtype="x" * 1000).subtype == "x" * 256


@pytest.mark.parametrize(
    ("value", "is_error"),
    [(False, False), (True, True), (None, True), ("false", True), (0, True), ("", True), ([], True)],
)
def test_only_a_plain_false_is_no_error(value: Any, is_error: bool) -> None:
    """A success has to be said; whatever else stands there is none."""
    assert _of(is_error=value).is_error is is_error


def test_a_subtype_of_success_makes_no_success() -> None:
    assert _of(subtype="success", is_error=True).is_error


# --- which line counts ---


def test_the_last_result_counts() -> None:
    assert _parsed(result_event(result="first") + TURN + result_event(result="last")).text == "last"


def test_other_events_that_speak_of_a_result_do_not_count() -> None:
    assert answer.parse(INIT + TURN + TOOL, NOTHING_SECRET) is None
    assert _parsed(result_event(result="it") + TURN + TOOL).text == "it"


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_the_beginning_may_be_cut_off(cut: int) -> None:
    assert _parsed((INIT + TURN)[cut:] + result_event()).text == "hi ✓"


def test_a_result_that_is_cut_itself_is_none() -> None:
    assert answer.parse(result_event()[20:], NOTHING_SECRET) is None
    assert answer.parse(INIT + result_event()[:-20], NOTHING_SECRET) is None


def test_a_last_line_without_its_line_feed_counts() -> None:
    assert _parsed(result_event().rstrip(b"\n")).text == "hi ✓"


def test_what_comes_after_the_result_is_passed_over() -> None:
    assert _parsed(result_event() + b'garbage "result"\n\n\0\xff\n{"type": "result"\n').text == "hi ✓"


@pytest.mark.parametrize(
    "output",
    [
        b"",
        b"\n\n",
        b"hello",
        b'"result"',
        b'["result"]',
        b'{"type": ["result"]}',
        b'{"Type": "result"}',
        b'{"type": "result"',
        b'{"type": "result"}{"type": "result"}',
        b'{"type": "result", "x": ' + b"[" * 100_000,
        b'{"type": "result", "x": ' + b"9" * 5000 + b"}",
        b"null",
        b"\xff\xfe\x00",
    ],
)
def test_garbage_is_no_answer(output: bytes) -> None:
    assert answer.parse(output, NOTHING_SECRET) is None


def test_a_result_with_nothing_in_it() -> None:
    found = _parsed(b'{"type": "result"}')
    assert (found.text, found.subtype, found.turns, found.cost_usd) == ("", "", 0, 0.0)
    assert found.is_error


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_none(output: bytes) -> None:
    found = answer.parse(output + b'\n{"type":"result","result":' + output + b"}", NOTHING_SECRET)
    assert found is None or isinstance(found, Answer)


# --- wrong types ---

HOSTILE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(), max_size=5)
    | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("subtype", "is_error", "result", "errors", "structured_output", "session_id", "num_turns", "usage")


@given(st.dictionaries(st.sampled_from([*FIELDS, "total_cost_usd"]), HOSTILE))
def test_whatever_stands_in_it_can_be_put_into_a_status(fields: dict[str, Any]) -> None:
    """As the status goes to the API server: strict JSON, valid UTF-8."""
    found = _parsed(json.dumps({"type": "result"} | fields).encode())
    written = {"text": found.text, "structured": found.structured, "turns": found.turns, "cost": found.cost_usd}
    json.dumps(written, ensure_ascii=False, allow_nan=False).encode("utf-8")
    assert isinstance(found.text, str)
    assert len(found.text.encode()) <= answer.MAX_TEXT
    assert 0 <= found.turns < 2**53
    assert found.cost_usd is not None
    assert 0 <= found.cost_usd < 1e9


@pytest.mark.parametrize("value", [-1, 2**53, 1.5, "7", True, None, [1], float("nan")])
def test_a_count_that_is_none_is_0(value: Any) -> None:
    usage = {"input_tokens": value, "output_tokens": 3}
    found = _of(num_turns=value, usage=usage)
    assert (found.turns, found.input_tokens, found.output_tokens) == (0, 0, 3)


@pytest.mark.parametrize("value", [-0.1, "1", True, None, float("inf"), float("nan"), 1e12, [0.1]])
def test_a_cost_that_is_none_is_0(value: Any) -> None:
    assert _of(total_cost_usd=value).cost_usd == 0.0


def test_a_cost_is_rounded_to_a_millionth() -> None:
    assert _of(total_cost_usd=5.0254e-06).cost_usd == 5e-06
    assert _of(total_cost_usd=3).cost_usd == 3.0


@pytest.mark.parametrize("usage", [None, [], "x", 1])
def test_a_usage_that_is_none(usage: Any) -> None:
    assert _of(usage=usage).input_tokens == 0


# --- text ---


def test_what_would_steer_a_terminal_is_shown() -> None:
    assert _of(result="a\0b\x1b[31m\u202ec\r\n").text == "a\\x00b\\x1b[31m\\u202ec\n"
    assert _of(result=None, errors=["a\x1bb"]).text == "a\\x1bb"
    found = _of(result="\x1b" * 10_000)
    assert (len(found.text), found.truncated) == (answer.MAX_TEXT, True)
    assert found.left_out == ("the text is longer than 32768 bytes",)


def test_a_structured_answer_keeps_its_meaning() -> None:
    """It is data for programs, whatever is in it."""
    assert _of(structured_output={"a\x1b": "b\x1b\u202e\0"}).structured == {"a\x1b": "b\x1b\u202e\0"}


def test_half_a_surrogate_pair_is_replaced() -> None:
    assert _parsed(b'{"type":"result","result":"a\\ud800b"}').text == "a?b"
    assert _parsed(b'{"type":"result","result":"a\xed\xa0\x80b\xff"}').text.startswith("a\N{REPLACEMENT CHARACTER}")


@pytest.mark.parametrize("char", ["x", "é", "✓", "🦊"])
def test_a_long_text_is_cut_between_characters(char: str) -> None:
    width = len(char.encode())
    exact = char * (answer.MAX_TEXT // width)
    assert (_of(result=exact).text, _of(result=exact).truncated) == (exact, False)
    longer = _of(result="a" + char * (answer.MAX_TEXT // width + 1))
    assert longer.truncated
    assert longer.left_out == ("the text is longer than 32768 bytes",)
    assert longer.text == "a" + char * ((answer.MAX_TEXT - 1) // width)


@given(st.text(max_size=40), st.integers(0, 60))
def test_clip(text: str, limit: int) -> None:
    clipped, cut = answer.clip(text, limit)
    whole = text.encode("utf-8", "replace").decode()
    assert len(clipped.encode("utf-8")) <= limit
    assert whole.startswith(clipped)
    assert cut is (clipped != whole)
    if cut:
        following = whole[len(clipped)]
        assert len((clipped + following).encode()) > limit, "one more would have fitted"


# --- structured ---


@pytest.mark.parametrize(
    "value", [{"ok": False}, [], [1, "a", None], "text", 0, False, {"a": {"b": [1.5, "käse"]}}, {"": ""}, 2**60, -1.5]
)
def test_structured(value: Any) -> None:
    found = _of(structured_output=value)
    assert found.structured == value
    assert type(found.structured) is type(value)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"NaN", None),
        (b"[1, Infinity, -Infinity]", [1, None, None]),
        (b"[1e999, -1e999]", [None, None]),
        (b"[1" + b"0" * 400 + b"]", [None]),
        (b'{"a\\ud800": "\\udc00b"}', {"a?": "?b"}),
        (b'"\xff"', "\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_structured_as_the_api_server_can_take_it(written: bytes, read: Any) -> None:
    found = _parsed(b'{"type":"result","is_error":false,"result":"x","structured_output":' + written + b"}")
    assert found.structured == read
    assert found.text == "x"
    changed = written != b'"\xff"'  # which was no JSON from the beginning
    assert found.left_out == (
        ("the structured answer has numbers or characters that cannot be stored",) if changed else ()
    )


def test_a_structured_answer_that_is_too_large_is_left_out() -> None:
    just = "x" * (answer.MAX_STRUCTURED - 2)
    assert _of(structured_output=just).structured == just
    assert _of(structured_output=just).left_out == ()
    found = _of(structured_output=just + "x")
    assert (found.structured, found.text) == (None, "hi ✓")
    assert found.left_out == ("the structured answer is larger than 262144 bytes",)


@pytest.mark.parametrize("values", [100_001, 390_000])
def test_a_structured_answer_of_too_many_values_is_left_out(values: int) -> None:
    found = _of(structured_output=[0] * values)
    assert (found.structured, found.text, found.input_tokens, found.is_error) == (None, "hi ✓", 11, False)
    assert found.left_out == ("the structured answer has more than 100000 values",)


def test_a_structured_answer_that_is_too_deep_is_left_out() -> None:
    def nested(depth: int) -> Any:
        value: Any = 1
        for _ in range(depth):
            value = [value]
        return value

    assert _of(structured_output=nested(answer.MAX_DEPTH)).structured == nested(answer.MAX_DEPTH)
    for depth in (answer.MAX_DEPTH + 1, 600, 10_000):
        text = "[" * depth + "]" * depth
        found = _parsed(result_event().replace(b'"subtype"', f'"structured_output": {text}, "subtype"'.encode()))
        assert (found.structured, found.text, found.input_tokens) == (None, "hi ✓", 11)
        assert found.left_out == ("the structured answer is nested deeper than 64 levels",)


# --- outputs that an agent made ---


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with forks.of("tests.unit.plan.hostile_answers", tmp_path_factory.mktemp("readers")) as ready:
        yield ready


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_that_is_made_to_be_expensive(name: str, readers: Forks) -> None:
    """Whatever 10 MiB of output hold, reading them takes a bounded memory, and ends no process."""
    [said] = readers.lines(name)
    assert json.loads(said)["kilobytes"] < 64 * 1024
