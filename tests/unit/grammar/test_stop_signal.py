"""Signals as images and compose files name them."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.grammar import stop_signal


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("SIGINT", 2),
        ("INT", 2),
        ("sigterm", 15),
        (" SIGQUIT ", 3),
        ("9", 9),
        ("RTMIN", signal.SIGRTMIN),
        ("SIGRTMIN+3", signal.SIGRTMIN + 3),
        ("RTMAX-1", signal.SIGRTMAX - 1),
        ("64", 64),
        ("", None),
        ("0", None),
        ("65", None),
        ("-1", None),
        ("SIG", None),
        ("SIGNAL", None),
        ("RTMIN-1", None),
        ("RTMAX+1", None),
        ("RTMIN+", None),
        ("_DFL", None),
        ("²", None),
    ],
)
def test_names_and_numbers(text: str, number: int | None) -> None:
    assert stop_signal.number(text) == number


@given(st.text(max_size=8))
def test_anything_else_is_no_signal(text: str) -> None:
    found = stop_signal.number(text)
    assert found is None or 1 <= found <= 64
