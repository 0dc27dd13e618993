"""compose/document/scalars.py: what plain scalars and those with a tag mean, as Compose reads them."""

from __future__ import annotations

import math
import string

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from stromboli.compose.document import scalars
from stromboli.compose.document.node import Date
from stromboli.compose.document.scalars import CORE, Scalar

VALUES: dict[str, Scalar] = {
    **dict.fromkeys(["", "~", "null", "Null", "NULL"], None),
    **dict.fromkeys(["true", "True", "TRUE"], True),
    **dict.fromkeys(["false", "False", "FALSE"], False),
    "0777": 511,
    "0o777": 511,
    "-0777": -511,
    "0O17": 15,
    "0x1F": 31,
    "0X1f": 31,
    "0x_1F": 31,
    "0b101": 5,
    "-0b11": -3,
    "1_000": 1000,
    "1__0_": 10,
    "0": 0,
    "00": 0,
    "-0": 0,
    "+5": 5,
    "18446744073709551615": 2**64 - 1,
    "18446744073709551616": 2.0**64,
    "-9223372036854775808": -(2**63),
    "-9223372036854775809": -(2.0**63),
    "1e3": 1000.0,
    "1E+3": 1000.0,
    "1.": 1.0,
    ".5": 0.5,
    "-.5": -0.5,
    "1.50": 1.5,
    "1_000.5": 1000.5,
    "08": 8.0,
    "009.5": 9.5,
    ".inf": math.inf,
    "+.Inf": math.inf,
    "-.INF": -math.inf,
    "2020-01-01": Date("2020-01-01"),
    "2020-1-2": Date("2020-1-2"),
    "0000-02-29": Date("0000-02-29"),
    "2020-01-01 10:20:30": Date("2020-01-01 10:20:30"),
    "2020-01-01 1:2:3.5": Date("2020-01-01 1:2:3.5"),
    "2020-01-01T10:20:30Z": Date("2020-01-01T10:20:30Z"),
    "2020-01-01t10:20:30.25+01:00": Date("2020-01-01t10:20:30.25+01:00"),
}
TEXTS = [
    *("yes", "Yes", "no", "on", "off", "y", "n", "tRUE", "nULL", "none", "=", "<<", "-", "+", ".", "_1", "a"),
    *(
        "22:22",
        "1:30:00",
        "2222:22",
        "0x",
        "0b2",
        "0o8",
        "0xG",
        "1e",
        "1e3x",
        "1.2.3",
        "1,000",
        "1 000",
        ".1_0",
        "1e400",
    ),
    *("-e1", ".e1", "٣", "²", "1٣", "infinity", "nan", "Infinity", "inf", "+.nan", "0x1p3", "--1", "+-1", "1_x", "._"),
    *("2021-02-29", "2020-13-01", "2020-00-10", "2020-01-32", "2020-01", "02020-01-01", "2020-01-01T10:20"),
    *("2020-01-01T10:20:30", "2020-01-01 10:20:30Z", "2020-01-01 24:00:00", "2020-01-01 10:60:00", "2020-01-01 1:1:60"),
    "1" * 101,
]


@pytest.mark.parametrize("text", VALUES)
def test_what_is_no_text(text: str) -> None:
    found = scalars.plain(text)
    assert (found, type(found)) == (VALUES[text], type(VALUES[text]))


@pytest.mark.parametrize("text", [".nan", ".NaN", ".NAN"])
def test_not_a_number_is_a_float(text: str) -> None:
    found = scalars.plain(text)
    assert isinstance(found, float)
    assert math.isnan(found)


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_text(text: str) -> None:
    assert scalars.plain(text) == text


@pytest.mark.parametrize(
    ("tag", "text", "value"),
    [
        ("str", "12", "12"),
        ("str", "", ""),
        ("int", "0777", 511),
        ("float", "1", 1.0),
        ("float", "1.5", 1.5),
        ("bool", "True", True),
        ("null", "", None),
        ("timestamp", "2020-01-01", Date("2020-01-01")),
    ],
)
def test_a_tag_says_what_the_text_is(tag: str, text: str, value: Scalar) -> None:
    found = scalars.tagged(CORE + tag, text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        *((f"{CORE}int", text) for text in ("", "1.5", "true", "x", "1e3")),
        *((f"{CORE}float", text) for text in ("", "true", "x")),
        *((f"{CORE}bool", text) for text in ("yes", "1", "")),
        *((f"{CORE}null", text) for text in ("x", "0", "false")),
        (f"{CORE}timestamp", "1"),
        *(
            (f"{CORE}{name}", "x")
            for name in ("binary", "set", "omap", "pairs", "merge", "value", "map", "seq", "python/none")
        ),
        *((tag, "x") for tag in ("!x", "!reset", "!override", "tag:example,2000:str", "int", "")),
    ],
)
def test_a_tag_that_does_not_fit_is_an_error(tag: str, text: str) -> None:
    with pytest.raises(ValueError):
        scalars.tagged(tag, text)


@given(st.text() | st.text("0123456789+-_.eExXobOBabfT:Z ", max_size=20))
@example("2020-02-30")
@example("0_")
def test_any_text_has_a_value(text: str) -> None:
    scalars.plain(text)


@given(st.integers(-(2**63), 2**64 - 1))
def test_integers_are_what_they_say(number: int) -> None:
    assert scalars.plain(str(number)) == number
    assert scalars.plain(f"{number:#x}") == number
    assert scalars.plain(f"{number:#o}") == number
    assert scalars.plain(f"{number:#b}") == number
    assert scalars.plain(f"{number:_}") == number


@given(st.floats(allow_nan=False))
def test_floats_are_what_they_say(number: float) -> None:
    text = repr(number).replace("inf", ".inf")
    assert scalars.plain(text) == number


@given(st.text(string.ascii_letters + "/_ ", min_size=1, max_size=12))
@example("true")
def test_words_agree_with_pyyaml_but_for_its_booleans(text: str) -> None:
    found = yaml.load(text, Loader=yaml.CSafeLoader) if text.strip() == text else text
    if text.lower() not in ("yes", "no", "on", "off") and isinstance(found, str | bool | None):
        assert scalars.plain(text) == found
