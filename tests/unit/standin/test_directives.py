"""The small language of prompts that ask for something to be tried."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.standin.directives import Directives, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("just a question", Directives()),
        ("", Directives()),
        ("please BASH{ls -l} now", Directives(bash="ls -l")),
        ("BASH{echo ${HOME}; f() { :; }}", Directives(bash="echo ${HOME}; f() { :; }")),
        ("BASH{never closed", Directives()),
        ("BASH{}", Directives(bash="")),
        ("BASH{one} BASH{two}", Directives(bash="one")),
        ("MYBASH{no}", Directives()),
        ("bash{no}", Directives()),
        ("LOOP{date}", Directives(loop="date")),
        ("SLEEP{1.5}", Directives(sleep=1.5)),
        ("SLEEP{soon}", Directives()),
        ("SLEEP{-1}", Directives()),
        ("STATUS{401}", Directives(status=401)),
        ("STATUS{529,opus}", Directives(status=529, status_model="opus")),
        ("STATUS{200}", Directives()),
        ("STATUS{4011}", Directives()),
        ("SLOWSTREAM{3}", Directives(slow_pieces=3)),
        ("ECHO{a\nb {c}}", Directives(echo="a\nb {c}")),
        ('JSON{"a": {"b": "}"}} and so on', Directives(json={"a": {"b": "}"}})),
        ("JSON{not json}", Directives()),
        ("SLEEP{2} ECHO{x}", Directives(sleep=2.0, echo="x")),
    ],
)
def test_a_prompt_is_read(text: str, expected: Directives) -> None:
    assert parse(text) == expected


@given(st.text(alphabet=st.characters(exclude_characters="{}", exclude_categories=["Cs"])))
def test_any_text_without_braces_comes_back_as_it_was(text: str) -> None:
    assert parse(f"before ECHO{{{text}}} after").echo == text


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.booleans() | st.lists(st.text())))
def test_any_object_comes_back_as_it_was(value: dict[str, object]) -> None:
    assert parse(f"JSON{json.dumps(value)} rest").json == value


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    assert isinstance(parse(text), Directives)
