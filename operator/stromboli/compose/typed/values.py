"""The kinds of values: what Compose casts is cast as it does that, everything else is refused with what to write.

The functions take plain values (`plain.py`) and raise ValueError with a predicate that continues "KEY: ", or Wrong for
a part of the value. None is a key without a value, which Compose refuses as well.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator

from stromboli.compose.document.node import Date
from stromboli.compose.forms import duration, size
from stromboli.compose.problem import quoted
from stromboli.compose.typed.base import MAPPING, Wrong
from stromboli.errors import InvalidInput

T = TypeVar("T")

_TRUE, _FALSE = frozenset({"true", "yes", "on", "y"}), frozenset({"false", "no", "off", "n"})
_ENTRIES = 4096  # of a list or a mapping
LARGEST = 2**63 - 1
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,19}(?:[.][0-9]{0,19})?|[.][0-9]{1,19})")
_PLAIN = range(-4, 6)  # of an exponent: Go writes the number without it
# Control characters, and those that change the direction of a line or are not seen.
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
_NAME = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]*")
_NAME_LENGTH = 63  # of a part of a DNS name


def told(value: object) -> str:
    """A short word for a value that is not what it should be."""
    match value:
        case None:
            return "is empty"
        case bool():
            return f"is {str(value).lower()}"
        case int() | float():
            return "is a number"
        case str():
            return f'is "{quoted(value)}"'
        case Date():
            return "is a date"
        case list():
            return "is a list"
        case _:
            return "is a mapping"


def boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = value.lower() if isinstance(value, str) else ""
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError(f"{told(value)}; it has to be true or false")


def text(value: object) -> str:
    """A string. Numbers are not cast: Compose refuses them, and 0755 or 1.10 would not be what was written."""
    if isinstance(value, str):
        return value
    advice = "" if value is None or isinstance(value, list | dict) else ": write it in quotes"
    raise ValueError(f"{told(value)}; it has to be text{advice}")


def word(value: object) -> str:
    """A string of one line, with something in it."""
    found = text(value)
    if not found or found != found.strip() or CONTROLS.search(found):
        raise ValueError(f"{told(value)}; it has to be text without blanks around it or control characters in it")
    return found


def integer(value: object) -> int:
    if isinstance(value, int | float) and abs(value) > LARGEST:
        raise ValueError("is a number too large for anything")
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST:
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST:
        return int(value)
    if isinstance(value, str) and _INTEGER.fullmatch(value) and abs(int(value)) <= LARGEST:
        return int(value)
    raise ValueError(f"{told(value)}; it has to be a whole number")


def number(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value) or abs(value) > LARGEST:
            raise ValueError("is not a number that can be compared; write one such as 0.5")
        return float(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    raise ValueError(f"{told(value)}; it has to be a number")


def octets(value: object) -> int:
    """A size in bytes."""
    if isinstance(value, str):
        return _read(size.parse, value)
    if isinstance(value, float) and not (math.isfinite(value) and value.is_integer()):
        raise ValueError("is not a whole number of bytes; write it such as 512m")
    found = integer(value)
    if found < 0:
        raise ValueError("is negative; write it such as 512m or 1.5g")
    return found


def seconds(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError("is a number without a unit; write it such as 30s or 1m30s")
    return _read(duration.parse, text(value))


def octal(digits: str) -> int:
    """The number; -1 if it is none."""
    return int(digits, 8) if re.fullmatch(r"[0-7]{1,6}", digits) else -1


def mode(value: object) -> int:
    """Permissions: a number, which is octal in YAML with a 0 before it, or octal digits as text."""
    found = octal(value) if isinstance(value, str) else integer(value)
    if not 0 <= found <= 0o777:
        raise ValueError("is not a mode such as 0440: only the permissions to read, write and execute can be given")
    return found


def scalar(value: object) -> str:
    """What becomes text: as Compose writes it."""
    match value:
        case str():
            return value
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case float() if math.isfinite(value):
            return _as_go_writes(value)
        case float():
            raise ValueError("is no finite number; write it in quotes if the text is meant")
        case Date():
            raise ValueError("is a date in YAML; write it in quotes")
        case None:
            raise ValueError('is empty; write "" if it is to be empty')
        case _:
            raise ValueError(f"{told(value)}; it has to be text, a number, true or false")


def _as_go_writes(value: float) -> str:
    number = Decimal(repr(value)).normalize()
    sign, digits, _ = number.as_tuple()
    exponent = number.adjusted()
    if value == 0 or exponent in _PLAIN:
        return f"{value:g}" if value.is_integer() else repr(value)
    rest = "".join(map(str, digits[1:]))
    return f"{'-' * sign}{digits[0]}{'.' if rest else ''}{rest}e{exponent:+03d}"


def entries(value: object) -> list[Any]:
    """A list."""
    if not isinstance(value, list):
        raise ValueError(f"{told(value)}; it has to be a list")
    if len(value) > _ENTRIES:
        raise ValueError(f"has {len(value)} entries; at most {_ENTRIES}")
    return value


def members(value: object) -> dict[str, Any]:
    """A mapping."""
    if not isinstance(value, dict):
        raise ValueError(f"{told(value)}; it {MAPPING}")
    if len(value) > _ENTRIES:
        raise ValueError(f"has {len(value)} entries; at most {_ENTRIES}")
    return value


def each(read: Callable[[object], T]) -> Callable[[object], tuple[T, ...]]:
    """A reader of lists of such values."""

    def read_all(value: object) -> tuple[T, ...]:
        found = []
        for n, one in enumerate(entries(value)):
            try:
                found.append(read(one))
            except ValueError as e:
                raise Wrong((n,), str(e)) from e
        return tuple(found)

    return read_all


def one_of(*words: str) -> Callable[[object], str]:
    """A reader of one of these words."""

    def read(value: object) -> str:
        if isinstance(value, str) and value in words:
            return value
        raise ValueError(f"{told(value)}; it has to be {' or '.join(words)}")

    return read


def form(read: Callable[[str], T]) -> Callable[[object], T]:
    """A reader of text in one of the short forms (compose/forms/)."""
    return lambda value: _read(read, text(value))


def names(value: object) -> dict[str, Any]:
    """A mapping whose keys are the names of services, networks, volumes or secrets."""
    found = members(value)
    for name in found:
        if why := unfit(name):
            raise Wrong((name,), why)
    return found


def unfit(name: str) -> str | None:
    """Why this can be no name of a service, network, volume or secret; None if it can."""
    if len(name) > _NAME_LENGTH:
        return f"is a name of {len(name)} characters; at most {_NAME_LENGTH}"
    if not _NAME.fullmatch(name):
        return "is no name: it has to have letters, digits, _, - and . only, and not to begin with - or ."
    return None


def _read(read: Callable[[str], T], value: str) -> T:
    try:
        return read(value)
    except InvalidInput as e:
        raise ValueError(e.message) from e


def variable_name(name: str) -> str | None:
    """Why this can be no name of an environment variable; None if it can. Dots and dashes are in use."""
    if not name:
        return "is no name of a variable: it is empty"
    if "=" in name or CONTROLS.search(name) or re.search(r"\s", name):
        return "is no name of a variable: it has a blank, = or a control character in it"
    return None


def variables(value: object) -> Mapping[str, str | None]:
    """`environment`, or the arguments of a build; None is to be answered from outside."""
    found: dict[str, str | None] = {}
    for name, one in members(value).items():
        if why := variable_name(name):
            raise Wrong((name,), why)
        try:
            found[name] = None if one is None else scalar(one)
        except ValueError as e:
            raise Wrong((name,), str(e)) from e
    return found


Boolean = Annotated[bool, BeforeValidator(boolean)]
Text = Annotated[str, BeforeValidator(text)]
Word = Annotated[str, BeforeValidator(word)]
Octets = Annotated[int, BeforeValidator(octets)]
Seconds = Annotated[float, BeforeValidator(seconds)]
Mode = Annotated[int, BeforeValidator(mode)]
Words = Annotated[tuple[str, ...], BeforeValidator(each(word))]
Texts = Annotated[tuple[str, ...], BeforeValidator(each(text))]
Variables = Annotated[Mapping[str, str | None], BeforeValidator(variables)]
