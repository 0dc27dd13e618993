"""What text of others is on a terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli import visible


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x1b]52;c;aGk=\x07", "\\x1b]52;c;aGk=\\x07"),
        ("\x9b2J", "\\x9b2J"),
        ("a\u202eb\u2066c\u200f", "a\\u202eb\\u2066c\\u200f"),
        ("10%\r20%\r\ndone", "10%\\x0d20%\ndone"),
        ("\x00\x7f\u2028\ufeff", "\\x00\\x7f\\u2028\\ufeff"),
        ("hidden\U000e0041", "hidden\\U000e0041"),
        ("half \ud800", "half \\ud800"),
        ("👩\u200d💻 né żółw 漢字 سلام", "👩\u200d💻 né żółw 漢字 سلام"),
    ],
)
def test_text(said: str, shown: str) -> None:
    assert visible.text(said) == shown


@given(st.text(st.characters()))
def test_no_control_character_is_left(said: str) -> None:
    shown = visible.text(said)
    assert not [c for c in shown if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
    assert not [
        c for c in shown if unicodedata.bidirectional(c) in ("LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "PDI")
    ]
    assert visible.text(shown) == shown
