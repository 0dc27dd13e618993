"""Which patterns are JavaScript's. Each was tried with the CLI's own engine, or is the specification's word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.grammar.regex import problem


@pytest.mark.parametrize(
    "pattern",
    [
        "", "a", "^a$", "a|b", "(a)", "(?:a)", "(?=a)", "(?!a)", "(?<=a)b", "(?<!a)b", r"(?<x>a)\k<x>", "(?i:a)", "a*?",
        "a{2}", "a{2,}", "a{2,3}?", "[a-z]", "[^]", "[]", r"[\-\]]", r"[\b]", r"\bword\B", r"\d\D\w\W\s\S", r"(a)\1",
        r"\t\n\r\f\v\0", r"\cA", r"\x41\u0041", r"\u{1F600}", r"\p{L}\P{Lu}\p{Script=Greek}", "käse 🧀", "[(]", "[{]",
        r"\^\$\\\.\*\+\?\(\)\[\]\{\}\|\/", "(a|b)+", "(a)?b*",
    ],
)  # fmt: skip
def test_a_pattern(pattern: str) -> None:
    assert problem(pattern) is None


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(", "a group has no end"),
        ("a)", ") closes nothing"),
        ("a]", "] closes nothing"),
        ("a}", "} closes nothing"),
        ("a{", "{ is no quantifier"),
        ("a{x}", "{ is no quantifier"),
        ("[a", "a class"),
        ("*a", "* repeats nothing"),
        ("a++", "+ repeats nothing"),
        ("a|*", "* repeats nothing"),
        ("(*)", "* repeats nothing"),
        ("(?P<x>a)", "(?P< is no group"),
        ("(?i)a", "(?i) is no group"),
        ("(?#a)", "(?#a is no group"),
        ("(?>a)", "(?>a is no group"),
        (r"\A", r"\A is no escape"),
        (r"a\Z", r"\Z is no escape"),
        (r"a\-b", r"\- is no escape"),
        (r"\a", r"\a is no escape"),
        ("a\\", "\\ is no escape"),
        (r"\p{}", r"\p is no escape"),
        (r"\x4", r"\x is no escape"),
        (r"[\A]", "an escape that is none"),
    ],
)
def test_no_pattern(pattern: str, said: str) -> None:
    assert said in str(problem(pattern))


@given(st.text(alphabet="ab\\()[]{}?*+|^$<>=!:-,0123uxpk"))
def test_any_text_is_judged(text: str) -> None:
    assert problem(text) is None or problem(text)
