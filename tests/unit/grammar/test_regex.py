"""Which patterns are valid JavaScript. Each was tried with the CLI's own engine, or is from the specification."""

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
        ("(", "a group is not closed"),
        ("a)", ") closes nothing"),
        ("a]", "] closes nothing"),
        ("a}", "} closes nothing"),
        ("a{", "{ is not a quantifier"),
        ("a{x}", "{ is not a quantifier"),
        ("[a", "a class"),
        ("*a", "* has nothing to repeat"),
        ("a++", "+ has nothing to repeat"),
        ("a|*", "* has nothing to repeat"),
        ("(*)", "* has nothing to repeat"),
        ("(?P<x>a)", "(?P< is not a valid group"),
        ("(?i)a", "(?i) is not a valid group"),
        ("(?#a)", "(?#a is not a valid group"),
        ("(?>a)", "(?>a is not a valid group"),
        (r"\A", r"\A is not a valid escape"),
        (r"a\Z", r"\Z is not a valid escape"),
        (r"a\-b", r"\- is not a valid escape"),
        (r"\a", r"\a is not a valid escape"),
        ("a\\", "\\ is not a valid escape"),
        (r"\p{}", r"\p is not a valid escape"),
        (r"\x4", r"\x is not a valid escape"),
        (r"[\A]", "an invalid escape"),
    ],
)
def test_no_pattern(pattern: str, said: str) -> None:
    assert said in str(problem(pattern))


@given(st.text(alphabet="ab\\()[]{}?*+|^$<>=!:-,0123uxpk"))
def test_any_text_is_judged(text: str) -> None:
    assert problem(text) is None or problem(text)
