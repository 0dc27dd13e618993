"""Durations in Go's syntax: `10m`, `1h30m`, `1.5h`, `300ms` → seconds, and seconds → text for display.

The syntax is that of Go's `time.ParseDuration` (a sequence of decimal numbers, each with a unit), without the letter µ,
a minus sign, or a bare `0`, since no duration here may be zero.
"""

from __future__ import annotations

import re
from fractions import Fraction

from stromboli.errors import InvalidInput

MAX_LENGTH = 64
YEAR = 365 * 24 * 3600.0  # seconds; anything longer is a typing error

_UNITS = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
}
_UNIT = "(?:ns|us|ms|s|m|h)"
_TERM = f"(?:[0-9]+(?:[.][0-9]*)?|[.][0-9]+){_UNIT}"
_SOME = f"(?:[0-9]*[1-9][0-9]*(?:[.][0-9]*)?|[0-9]*[.][0-9]*[1-9][0-9]*){_UNIT}"

DURATION_RE2 = f"^[+]?(?:{_TERM})*{_SOME}(?:{_TERM})*$"
"""A duration above zero, of any length. It contains no backslash or quote, so it can be used in a CEL string."""

_DURATION = re.compile(f"(?P<sign>[+-]?)(?:{_TERM})+")
_EACH = re.compile(f"([0-9.]+)({_UNIT})")
_WORDS = {"d": 24, "day": 24, "days": 24, "w": 168, "week": 168, "weeks": 168}  # hours


def parse(text: str, maximum: float = YEAR) -> float:
    """Parse a duration into seconds, above zero and at most `maximum` (seconds). Raises InvalidInput."""
    match = _DURATION.fullmatch(text) if len(text) <= MAX_LENGTH else None
    if not match:
        shown = repr(text) if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]!r}…"
        raise InvalidInput(f"{shown} is not a duration; {_advice(text)}")
    seconds = sum(Fraction(number) * _UNITS[unit] for number, unit in _EACH.findall(text))
    if match["sign"] == "-" or not seconds:
        raise InvalidInput(f"{text!r} is not above zero; write a duration such as 90s, 10m or 1h30m")
    if seconds > Fraction(maximum):
        raise InvalidInput(f"{text!r} is too long; write at most {format(maximum)}")
    return float(seconds)


def format(seconds: float) -> str:
    """Format seconds for display, rounded: `850ms`, `4.2s`, `1m23s`, `2h5m`. A negative duration is `0s`."""
    milliseconds = round(max(seconds, 0.0) * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms" if milliseconds else "0s"
    tenths = round(milliseconds / 100)
    if tenths < 600:
        return f"{tenths / 10:g}s"
    minutes, rest = divmod(round(milliseconds / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{n}{unit}" for n, unit in parts if n)


def _advice(text: str) -> str:
    number = re.fullmatch(r"([0-9]{1,9}) *([A-Za-z]*)", text)
    if number and not number[2]:
        return f"it needs a unit: write {number[1]}s for seconds or {number[1]}m for minutes"
    if number and number[2].lower() in _WORDS:
        return f"the longest unit is h: write {int(number[1]) * _WORDS[number[2].lower()]}h"
    return "write numbers with h, m, s or ms, such as 90s, 10m or 1h30m"
