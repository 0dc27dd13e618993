"""A duration in Compose's syntax: `1h5m30s20ms`, `1.5m`, `2d`, `0`. Unlike those of our kinds, it may be zero."""

from __future__ import annotations

import functools
import re
from fractions import Fraction

from stromboli.compose.problem import quoted
from stromboli.errors import InvalidInput

_UNITS = {
    "w": Fraction(7 * 24 * 3600),
    "d": Fraction(24 * 3600),
    "h": Fraction(3600),
    "m": Fraction(60),
    "s": Fraction(1),
    "ms": Fraction(1, 1000),
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),
    "\u03bcs": Fraction(1, 10**6),  # the Greek letter, which looks like the sign
    "ns": Fraction(1, 10**9),
}
_TERM = f"([0-9]+(?:[.][0-9]*)?|[.][0-9]+)({'|'.join(sorted(_UNITS, key=len, reverse=True))})"
_DURATION = re.compile(f"[+]?(?:{_TERM})+")
_EACH = re.compile(_TERM)
_LONGEST_TEXT = 64
_LONGEST = Fraction(2**63 - 1, 10**9)  # Go's, about 292 years


def parse(text: str) -> float:
    """Seconds, zero or more. Raises InvalidInput."""
    return _parse(text) if len(text) <= _LONGEST_TEXT else _parse(text[: _LONGEST_TEXT + 1])


@functools.lru_cache(maxsize=256)  # most files have the same few many times
def _parse(text: str) -> float:
    if text == "0":
        return 0.0
    if len(text) > _LONGEST_TEXT or not _DURATION.fullmatch(text):
        raise InvalidInput(f'"{quoted(text)}" {_why(text)}')
    seconds = sum(Fraction(number) * _UNITS[unit] for number, unit in _EACH.findall(text))
    if seconds > _LONGEST:
        raise InvalidInput(f'"{quoted(text)}" is longer than 292 years')
    return float(seconds)


def _why(text: str) -> str:
    if re.fullmatch(r"[0-9]{1,9}", text):
        return f"has no unit: write {text}s for seconds"
    if text.startswith("-"):
        return "is negative; write a duration such as 30s or 1m30s"
    return "is not a duration: write numbers with d, h, m, s or ms and without blanks, such as 30s or 1m30s"
