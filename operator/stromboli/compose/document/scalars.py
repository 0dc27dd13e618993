"""What a scalar of YAML means, as Compose reads it: YAML 1.2 with three habits of 1.1 (0777, 1_000, dates). Pure.

`yes`, `on` and `22:22` are text. Every kind of number has bounds, since reading long ones takes more than linear time.
"""

from __future__ import annotations

import math
import re
from datetime import date

from stromboli.compose.document.node import Date

Scalar = None | bool | int | float | str | Date

CORE = "tag:yaml.org,2002:"
LONGEST_NUMBER = 100  # characters; longer ones are text

_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_TIME = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{1,2})-(?P<day>[0-9]{1,2})"
    r"(?:(?P<between>[Tt ])(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{1,2}):(?P<second>[0-9]{1,2})(?:[.,][0-9]+)?"
    r"(?P<zone>Z|[-+][0-9]{2}:[0-9]{2})?)?",
    re.ASCII,
)
_BASES = {"x": 16, "b": 2, "o": 8}
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1


def plain(text: str) -> Scalar:
    """The value of a scalar without quotes and tag."""
    if text in _WORDS:
        return _WORDS[text]
    if not text[0].isdigit() and text[0] not in "+-.":
        return text
    if len(text) > LONGEST_NUMBER:
        return text
    return Date(text) if _is_time(text) else _number(text)


def tagged(tag: str, text: str) -> Scalar:
    """The value of a scalar with one of YAML's own tags. Raises ValueError if the text is no such value."""
    if tag == f"{CORE}str":
        return text
    value = plain(text)
    match tag.removeprefix(CORE), value:
        case ("null", None) | ("bool", bool()) | ("timestamp", Date()) | ("float", float()):
            return value
        case "int", int() if not isinstance(value, bool):
            return value
        case "float", int() if not isinstance(value, bool):
            return float(value)
    raise ValueError


def _is_time(text: str) -> bool:
    found = _TIME.fullmatch(text)
    if found is None or (found["zone"] is None) != (found["between"] in (None, " ")):
        return False
    if found["between"] is not None and not (
        int(found["hour"]) < 24 and int(found["minute"]) < 60 and int(found["second"]) < 60
    ):
        return False
    try:
        date(int(found["year"]) or 4, int(found["month"]), int(found["day"]))  # the year 0 is a leap year, as 4 is
    except ValueError:
        return False
    return True


def _number(text: str) -> Scalar:
    bare = text.replace("_", "") if text[0] != "." else text
    if _INTEGER.fullmatch(bare):
        number = _integer(bare)
        if _SMALLEST <= number <= _LARGEST:
            return number
    if _FLOAT.fullmatch(bare) and math.isfinite(value := float(bare)):
        return value
    return text


def _integer(text: str) -> int:
    sign = -1 if text[0] == "-" else 1
    digits = text.lstrip("+-")
    if digits[0] != "0" or digits == "0":
        return sign * int(digits)
    base = _BASES.get(digits[1].lower(), 0)
    return sign * (int(digits[2:], base) if base else int(digits, 8))
