"""Prompts, and documents of JSON."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from stromboli.errors import Refused
from stromboli.plan import documents
from stromboli.reasons import Reason

MIB = 1024 * 1024


def _refused(call: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(Refused) as refusal:
        call(*arguments, **named)
    assert refusal.value.reason is Reason.InvalidSpec
    return refusal.value.message


@pytest.mark.parametrize("prompt", ["x", " x\n", "käse", "🦊", "\x01", "a\u202eb", "x" * MIB, "🦊" * MIB])
def test_a_prompt(prompt: str) -> None:
    documents.check_prompt(prompt, "spec.prompt")
    assert documents.decode_prompt(prompt.encode(), "spec.promptFrom") == prompt


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("", "is empty; write what the agent should do"),
        ("\n \t\u2003", "is empty; write what the agent should do"),
        ("a\0b", "has a NUL character in it; take it out"),
        ("🦊" * MIB + "x", "has 4194305 bytes; at most 4194304 go into a prompt"),
    ],
)
def test_no_prompt(prompt: str, said: str) -> None:
    assert _refused(documents.check_prompt, prompt, "f") == f"f: {said}"
    assert _refused(documents.decode_prompt, prompt.encode(), "f") == f"f: {said}"


@pytest.mark.parametrize(
    ("data", "at"),
    [(b"\xff", 0), (b"abc\xc3(", 3), (b"ab\xed\xa0\x80", 2), (b"\xf0\x9f\xa6", 0), ("ä".encode("latin-1"), 0)],
)
def test_a_prompt_in_no_utf8(data: bytes, at: int) -> None:
    assert _refused(documents.decode_prompt, data, "f") == f"f: is not UTF-8 (byte {at}); a prompt is text"


@given(st.binary(max_size=50))
def test_any_bytes_are_a_prompt_or_refused(data: bytes) -> None:
    try:
        prompt = documents.decode_prompt(data, "f")
    except Refused:
        return
    assert prompt.encode() == data
    assert prompt.strip()


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, None), ({"a": 1}, {"a": 1}), ("{}", {}), (' {"a": [1, null]}\n', {"a": [1, None]}), ({}, {})],
)
def test_a_mapping(value: Any, expected: Any) -> None:
    assert documents.mapping(value, "f") == expected
    assert documents.mapping(value, "f", path=True) == expected


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "is not an object; write keys and values"),
        ("[1]", "is not an object; write keys and values"),
        ("null", "is not an object; write keys and values"),
        (0, "is not an object; write keys and values"),
        (False, "is not an object; write keys and values"),
        ("", "is a string but not JSON: "),
        ("{", "is a string but not JSON: "),
        ('{"a": 1} x', "is a string but not JSON: "),
        ('{"a": Infinity}', "is a string but not JSON: Infinity"),
        ('{"a": "\0"}', "is a string but not JSON: "),
        ('{"a": ' + "9" * 5000 + "}", "is a string but not JSON: "),
        ("[" * 5000, "is nested too deeply"),
    ],
)
def test_no_mapping(value: Any, said: str) -> None:
    assert _refused(documents.mapping, value, "f").startswith(f"f: {said}")


def test_a_path_is_for_who_takes_one() -> None:
    assert documents.mapping("/etc/settings.json", "f", path=True) is None
    assert "not JSON" in _refused(documents.mapping, "/etc/settings.json", "f")
    assert "not JSON" in _refused(documents.mapping, "etc/settings.json", "f", path=True)


@pytest.mark.parametrize("path", ["/a\0b", "/" + "a" * 4096])
def test_a_path_that_no_process_can_be_given(path: str) -> None:
    assert "is not the path of a file" in _refused(documents.mapping, path, "f", path=True)


def test_only_a_schema_has_to_be_small() -> None:
    large: dict[str, JsonValue] = {"a": "x" * 200_000}
    assert documents.mapping(large, "spec.claude.settings") == large
    assert "is larger than 98304 bytes" in _refused(documents.schema, large, "f")
    assert documents.schema(None, "f") is None
    assert documents.schema("{}", "f") == {}


def test_a_schema_of_just_the_size() -> None:
    room = documents.MAX_SCHEMA - len('{"a": ""}')
    assert documents.schema({"a": "x" * room}, "f") is not None
    assert "is larger" in _refused(documents.schema, {"a": "x" * (room + 1)}, "f")
