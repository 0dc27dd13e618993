"""grammar/duration.py: Go's durations to seconds and back, what is rejected, and the schema's expression."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.errors import InvalidInput
from stromboli.grammar import duration
from stromboli.grammar.duration import DURATION_RE2, YEAR

GOOD = {
    "10m": 600.0,
    "1h30m": 5400.0,
    "1.5h": 5400.0,
    "300ms": 0.3,
    "90s": 90.0,
    "1h2m3s4ms": 3723.004,
    "+5s": 5.0,
    ".5s": 0.5,
    "1.s": 1.0,
    "1m1h": 3660.0,
    "30s30s": 60.0,
    "0h5m": 300.0,
    "1us": 1e-6,
    "1ns": 1e-9,
    "0.1s": 0.1,
    "8760h": YEAR,
}

BAD = {
    "": "such as 90s, 10m or 1h30m",
    "soon": "such as 90s, 10m or 1h30m",
    "10 m": "such as 90s, 10m or 1h30m",
    "10m\n": "such as 90s, 10m or 1h30m",
    "10min": "such as 90s, 10m or 1h30m",
    "1h30": "such as 90s, 10m or 1h30m",
    "PT10M": "such as 90s, 10m or 1h30m",
    "10M": "such as 90s, 10m or 1h30m",
    "1..5h": "such as 90s, 10m or 1h30m",
    ".h": "such as 90s, 10m or 1h30m",
    "٣s": "such as 90s, 10m or 1h30m",
    "1µs": "such as 90s, 10m or 1h30m",
    "--1s": "such as 90s, 10m or 1h30m",
    "1h-5m": "such as 90s, 10m or 1h30m",
    "1s" * 40: "such as 90s, 10m or 1h30m",
    "10": "write 10s for seconds or 10m for minutes",
    "0": "it needs a unit",
    "2d": "write 48h",
    "1 week": "write 168h",
    "0s": "is not above zero",
    "0h0m0.0s": "is not above zero",
    "-10m": "is not above zero",
    "8760h1ns": "is too long; write at most 8760h",
    "99999999999999999999h": "is too long",
}

COLUMN = {
    0.0: "0s",
    -3.0: "0s",
    0.0004: "0s",
    0.0006: "1ms",
    0.85: "850ms",
    0.9999: "1s",
    4.2: "4.2s",
    4.0: "4s",
    59.94: "59.9s",
    59.96: "1m",
    83.0: "1m23s",
    83.4: "1m23s",
    3599.6: "1h",
    3723.0: "1h2m3s",
    7500.0: "2h5m",
    604800.0: "168h",
}


@pytest.mark.parametrize(("text", "seconds"), GOOD.items())
def test_seconds(text: str, seconds: float) -> None:
    assert duration.parse(text) == seconds
    assert re.fullmatch(DURATION_RE2, text)


@pytest.mark.parametrize(("text", "why"), BAD.items())
def test_what_is_no_duration_is_refused_with_a_sentence(text: str, why: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        duration.parse(text)
    assert why in caught.value.message


def test_the_caller_has_a_bound_of_its_own() -> None:
    assert duration.parse("1h", maximum=3600.0) == 3600.0
    with pytest.raises(InvalidInput, match=r"write at most 1h$"):
        duration.parse("1h1ms", maximum=3600.0)


@pytest.mark.parametrize(("seconds", "text"), COLUMN.items())
def test_text_for_a_column(seconds: float, text: str) -> None:
    assert duration.format(seconds) == text


def outcome(text: str) -> tuple[float, str]:
    try:
        return duration.parse(text), ""
    except InvalidInput as e:
        return 0.0, e.message


@given(st.floats(0.001, YEAR))
def test_the_text_is_a_duration_and_near(seconds: float) -> None:
    again = duration.parse(duration.format(seconds), maximum=YEAR + 1)
    assert abs(again - seconds) <= (0.00051 if seconds < 1 else 0.051 if seconds < 60 else 0.51)
    assert duration.format(again) == duration.format(seconds)


@given(st.lists(st.sampled_from([*"0159.+-", "h", "m", "s", "ms", "us", "ns", "d"]), max_size=7).map("".join))
def test_the_schema_agrees_with_the_parser(text: str) -> None:
    seconds, why = outcome(text)
    assert (seconds > 0) is (why == "")
    assert bool(re.fullmatch(DURATION_RE2, text)) is (why == "" or "too long" in why)


def test_the_expression_can_stand_in_a_cel_string() -> None:
    assert not set("\\'\"") & set(DURATION_RE2)
    assert "(?=" not in DURATION_RE2
