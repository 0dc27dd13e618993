"""A partial syntax check for JavaScript regular expressions with the flag `u`. Pure.

It finds what people write out of habit from other dialects: escapes, groups and quantifiers that JavaScript does not
have (ECMA-262, "Patterns"). One pass over the characters, without recursion.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# What may follow a backslash: classes, control characters, code points, syntax characters.
_ESCAPE = re.compile(
    r"[dDwWsSfnrtv^$\\.*+?()\[\]{}|/]|0(?![0-9])|c[A-Za-z]|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|u\{0*(?:10|[0-9A-Fa-f])?"
    r"[0-9A-Fa-f]{1,4}\}|[pP]\{[A-Za-z0-9_]+(?:=[A-Za-z0-9_]+)?\}"
)
_OUTSIDE = re.compile(r"[bB]|[1-9][0-9]*|k<[^>]+>")  # only outside a class: assertions and back-references
_INSIDE = re.compile(r"[b-]")  # only inside a class
_GROUP = re.compile(r"\?(?::|=|!|<=|<!|<[A-Za-z_$][A-Za-z0-9_$]*>|[ims]*(?:-[ims]+)?:)")
_QUANTIFIER = re.compile(r"(?:[*+?]|\{[0-9]+(?:,[0-9]*)?\})\??")


def problem(pattern: str) -> str | None:
    """What is wrong with a pattern; None if nothing was found."""
    return next(_problems(pattern), None)


def _problems(pattern: str) -> Iterator[str]:
    at, opened, repeatable = 0, 0, False
    while at < len(pattern):
        character = pattern[at]
        if character == "\\":
            if not (found := _ESCAPE.match(pattern, at + 1) or _OUTSIDE.match(pattern, at + 1)):
                yield f"\\{pattern[at + 1 : at + 2]} is not a valid escape"
                return
            at, repeatable = found.end(), found[0] not in ("b", "B")
        elif character == "[":
            end = _class_end(pattern, at + 1)
            if end < 0:
                yield "a class ([…]) is not closed, or contains an invalid escape"
                return
            at, repeatable = end, True
        elif found := _QUANTIFIER.match(pattern, at):
            if not repeatable:
                yield f"{found[0]} has nothing to repeat"
            at, repeatable = found.end(), False
        elif character == "(":
            opened += 1
            found = _GROUP.match(pattern, at + 1)
            if found is None and pattern[at + 1 : at + 2] == "?":
                yield f"{pattern[at : at + 4]} is not a valid group"
            at, repeatable = found.end() if found else at + 1, False
        else:
            if character == ")":
                opened -= 1
            if opened < 0 or character in "]{}":
                yield f"{character} closes nothing" if character in ")]}" else "{ is not a quantifier"
                return
            at, repeatable = at + 1, character not in "^|"
    if opened:
        yield "a group is not closed"


def _class_end(pattern: str, at: int) -> int:
    """The index after the end of the class that begins before `at`; below 0 if it is not closed or not valid."""
    while at < len(pattern) and pattern[at] != "]":
        if pattern[at] == "\\":
            found = _ESCAPE.match(pattern, at + 1) or _INSIDE.match(pattern, at + 1)
            if not found:
                return -1
            at = found.end()
        else:
            at += 1
    return at + 1 if at < len(pattern) else -1
