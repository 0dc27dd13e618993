"""`.dockerignore`, by Docker's rules; in time, whatever the pattern is."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.compose.dockerfile import ignore
from stromboli.errors import InvalidInput


def left_out(text: str, path: str) -> bool:
    ignored = ignore.parse(text.encode())
    names = path.split("/")
    found, results = False, ignored.top
    for count in range(1, len(names) + 1):
        found, results = ignored.judge("/".join(names[:count]), results)
    return found


@pytest.mark.parametrize(
    ("text", "out", "kept"),
    [
        ("node_modules", ["node_modules", "node_modules/a/b"], ["a/node_modules", "node_modules2"]),
        ("/a/b/", ["a/b", "a/b/c"], ["a", "b"]),
        ("*.pyc", ["x.pyc"], ["a/x.pyc", "pyc", "xpyc"]),
        ("**/*.pyc", ["x.pyc", "a/b/x.pyc"], ["x.py"]),
        ("**/node_modules", ["node_modules", "a/b/node_modules/c"], ["xnode_modules"]),
        ("*/temp*", ["a/temp", "a/temporary.txt"], ["temp", "a/b/temp"]),
        ("*/*/temp*", ["a/b/temp"], ["a/temp"]),
        ("temp?", ["tempa"], ["temp", "tempab", "tem"]),
        ("a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["z", "a/bz"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "ab"]),
        ("**", ["a", "a/b"], []),
        ("*", ["a", "a/b"], []),
        ("[a-c]x", ["ax", "cx"], ["dx"]),
        ("[^a]x", ["bx"], ["ax"]),
        (r"\*x", ["*x"], ["ax"]),
        ("a+(b)|{c}$", ["a+(b)|{c}$"], ["aab"]),
        ("*\n!a", ["b"], ["a", "a/b"]),
        ("*.md\n!README*.md\nREADME-secret.md", ["a.md", "README-secret.md"], ["README.md"]),
        ("*.md\nREADME-secret.md\n!README*.md", ["a.md"], ["README-secret.md"]),
        ("a\n!a/b", ["a", "a/c"], ["a/b", "a/b/c"]),
        ("# a comment\n\n  b  \r\n #c", ["b", "#c"], ["# a comment"]),
        ("\ufeffa", ["a"], []),
        ("a/../b", ["b"], ["a"]),
        (".", [], ["a"]),
        ("**/a/**/b/*c*", ["a/b/c", "x/a/y/b/zcz"], ["a/b/d"]),
    ],
)
def test_what_is_left_out(text: str, out: list[str], kept: list[str]) -> None:
    assert [path for path in out if not left_out(text, path)] == []
    assert [path for path in kept if left_out(text, path)] == []


@pytest.mark.parametrize("text", ["!", "a\n[b", "a\nb\\", "[z-a]", "[]", "[a-]"])
def test_what_is_no_pattern(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"line \d"):
        ignore.parse(text.encode())


def test_bounds() -> None:
    with pytest.raises(InvalidInput, match="more than 1000 patterns"):
        ignore.parse(b"x\n" * 1001)
    with pytest.raises(InvalidInput, match="too large"):
        ignore.parse(b"#" * 300_000)
    with pytest.raises(InvalidInput, match="UTF-8"):
        ignore.parse(b"\xff")


@pytest.mark.parametrize("pattern", ["**/" * 30 + "x*", "*a" * 30 + "b", "a**" * 30 + "b*"])
def test_no_pattern_takes_long(pattern: str) -> None:
    begun = time.process_time()
    assert not left_out(pattern, "/".join(["a" * 200] * 4))
    assert time.process_time() - begun < 2


ALPHABET = "ab/*?"


@given(
    st.text(ALPHABET, min_size=1, max_size=8), st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=4)
)
def test_the_automaton_agrees_with_regular_expressions(pattern: str, names: list[str]) -> None:
    tokens = ignore._tokens(pattern)
    path = "/".join(names)
    expected = re.fullmatch("".join(token.regex for token in tokens), path, re.DOTALL) is not None
    assert ignore._Automaton(tokens).matches(path) is expected
