"""A number of bytes: `512m`, `2.5gb`, `64KiB`, `1024`. The base is 1024, however it is spelt."""

from __future__ import annotations

import re
from fractions import Fraction

from stromboli.compose.problem import quoted
from stromboli.errors import InvalidInput

LARGEST = 2**63 - 1

_SIZE = re.compile(r"[+]?([0-9]{1,32}(?:[.][0-9]{0,32})?|[.][0-9]{1,32}) ?(?:b|([kmgtp])i?b?)?", re.IGNORECASE)


def parse(text: str) -> int:
    """Bytes, rounded down. Raises InvalidInput."""
    match = _SIZE.fullmatch(text)
    if not match or not text.isascii():  # without regard to case, some letters of other alphabets are k
        negative = re.fullmatch(r"-[0-9]+.{0,4}", text)
        why = "is negative" if negative else "is not a number of bytes"
        raise InvalidInput(f'"{quoted(text)}" {why}; write it such as 512m or 1.5g')
    number, unit = Fraction(match[1]), (match[2] or "").lower()
    found = int(number * 1024 ** (" kmgtp".index(unit) if unit else 0))
    if found > LARGEST:
        raise InvalidInput(f'"{quoted(text)}" is more bytes than there can be')
    return found
