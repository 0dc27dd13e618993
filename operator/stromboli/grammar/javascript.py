"""Translates JavaScript's regular expressions with the flag `u`, as Ajv compiles them, into Python's. Pure.

Only what means the same in both is translated; for the rest there is no translation, and who asked has to do without.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_SPACE = "\\t\\n\\v\\f\\r \\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\\ufeff"
_NO_LINE_END = "[^\\n\\r\\u2028\\u2029]"
_TOKEN = re.compile(
    r"\\u\{(?P<point>[0-9A-Fa-f]{1,8})\}|\\u(?P<high>[dD][89abAB][0-9A-Fa-f]{2})\\u(?P<low>[dD][c-fC-F][0-9A-Fa-f]{2})|"
    r"\\c(?P<control>[A-Za-z])|\\k<(?P<back>[A-Za-z_][A-Za-z0-9_]*)>|\(\?<(?P<name>[A-Za-z_][A-Za-z0-9_]*)>|"
    r"\\(?P<escaped>.)|(?P<plain>.)",
    re.DOTALL,
)
_SAME = frozenset("dDwWfnrtvux^$\\.*+?()[]{}|-")  # escapes; the syntax of \u and \x is the same


def compiled(pattern: str) -> re.Pattern[str] | None:
    """The pattern for `search`; None if there is no translation."""
    try:
        return re.compile("".join(_translated(pattern)), re.ASCII)
    except (re.error, ValueError, OverflowError, RecursionError):
        return None


def _translated(pattern: str) -> Iterator[str]:
    in_class = False
    for token in _TOKEN.finditer(pattern):
        kind, text = token.lastgroup, token[0]
        if kind == "point":
            yield re.escape(chr(int(token["point"], 16)))
        elif kind == "low":
            yield chr(0x10000 + ((int(token["high"], 16) - 0xD800) << 10) + int(token["low"], 16) - 0xDC00)
        elif kind == "control":
            yield f"\\x{ord(token['control']) % 32:02x}"
        elif kind == "back":
            yield f"(?P={token['back']})"
        elif kind == "name":
            yield text if in_class else f"(?P<{token['name']}>"
        elif kind == "escaped":
            yield _escape(token["escaped"], in_class)
        else:
            yield _plain(text, in_class)
            in_class = text != "]" and (in_class or text == "[")


def _escape(letter: str, in_class: bool) -> str:
    if letter == "s":
        return _SPACE if in_class else f"[{_SPACE}]"
    if letter == "S" and not in_class:
        return f"[^{_SPACE}]"
    if letter == "/":
        return "/"
    if letter == "0":
        return "\\x00"
    if letter in _SAME or (letter in "bB123456789" and not in_class):
        return f"\\{letter}"
    raise ValueError(f"\\{letter} has no translation")


def _plain(character: str, in_class: bool) -> str:
    if in_class:
        return f"\\{character}" if character in "[&~|" else character  # two of them mean something else in Python
    if character == ".":
        return _NO_LINE_END
    return "\\Z" if character == "$" else character
