"""Bytes of any kind as lines and as text."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.cli.logs.lines import Line, Lines, Plain


def plain(*data: bytes) -> str:
    output = Plain()
    return "".join(map(output.feed, data)) + output.close()


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ([b""], ""),
        ([b"a\n"], "a\n"),
        ([b"a"], "a\n"),
        ([b"a\r", b"\nb\r\n"], "a\nb\n"),
        ([b"10 %\r", b"20 %\r"], "10 %\\x0d20 %\\x0d\n"),
        ([b"\r"], "\\x0d\n"),
        (["ü".encode()[:1], "ü".encode()[1:]], "ü\n"),
        (["🎉".encode()[:3]], "\\xf0\\x9f\\x8e\n"),
        (["🎉".encode()[2:], b"\n"], "\\x8e\\x89\n"),
        ([b"\x1b[2J\x00\x9b\n"], "\\x1b[2J\\x00\\x9b\n"),
    ],
)
def test_plain_output(data: list[bytes], shown: str) -> None:
    assert plain(*data) == shown


def test_it_is_shown_before_its_line_ends() -> None:
    output = Plain()
    assert [output.feed(b"a"), output.feed(b"b"), output.close()] == ["a", "b", "\n"]


def test_what_is_said_in_between_begins_a_line() -> None:
    output = Plain()
    assert [output.feed(b"a"), output.end_line(), output.end_line(), output.feed(b"b\n")] == ["a", "\n", "", "b\n"]
    assert output.end_line() == output.close() == ""


PIECES = st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\xf0\x9f\x8e\x89", b"\xff", b"\x1b[", b"\xe2\x80"]))


@given(PIECES, st.data())
def test_plain_output_is_the_same_however_it_comes(parts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(parts)
    cuts = data.draw(st.lists(st.integers(0, len(whole))))
    at = [0, *sorted(cuts), len(whole)]
    assert plain(*(whole[start:end] for start, end in itertools.pairwise(at))) == plain(whole)


@given(st.binary(), st.integers(0, 5), st.integers(1, 7))
def test_lines_are_those_of_the_whole_and_bounded(data: bytes, limit: int, size: int) -> None:
    lines = Lines(limit)
    found: list[Line] = []
    for start in range(0, len(data), size):
        found += lines.feed(data[start : start + size])
    found += lines.close()
    *ends, rest = data.split(b"\n")
    expected = [*ends, rest] if rest else ends
    assert found == [Line(line[:limit], len(line)) for line in expected]
