"""Any of many strings in a text: the same places, however many they are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.plan import needles
from stromboli.plan.needles import Needles

SHORTEST = 3
STRINGS = st.lists(st.text("ab\n", min_size=SHORTEST, max_size=9), max_size=8)
TEXTS = st.text("ab\n", max_size=60)


def _covered(spans: Any) -> set[int]:
    return {place for start, stop in spans for place in range(start, stop)}


def _plainly(strings: list[str], text: str) -> set[int]:
    return {
        place
        for needle in strings
        for at in range(len(text))
        if text.startswith(needle, at)
        for place in range(at, at + len(needle))
    }


@pytest.mark.parametrize("few", [0, needles.FEW])
@given(strings=STRINGS, text=TEXTS)
def test_everything_that_belongs_to_one_is_found(few: int, strings: list[str], text: str) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(needles, "FEW", few)
        expected = _plainly(strings, text)
        assert _covered(Needles(strings, SHORTEST).spans(text)) == expected
        assert _covered(Needles([s.encode() for s in strings], SHORTEST).spans(text.encode())) == expected


@given(strings=STRINGS, text=TEXTS)
def test_an_end_that_begins_one_is_the_longest_of_such(strings: list[str], text: str) -> None:
    expected = max(
        (n for n in range(len(text) + 1) for s in strings if n < len(s) and n and s.startswith(text[len(text) - n :])),
        default=0,
    )
    assert Needles(strings, SHORTEST).begun(text) == expected


def test_nothing_is_found_of_nothing() -> None:
    nothing: Needles[str] = Needles([], SHORTEST)
    assert (list(nothing.spans("text")), nothing.begun("text"), nothing.longest) == ([], 0, 0)
