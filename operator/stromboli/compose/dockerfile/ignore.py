"""`.dockerignore`: which files of a context are left out, as Docker decides it (docs.docker.com, "dockerignore files").

A pattern leaves out what it matches and everything below. The last one that applies decides; one with `!` is an
exception. `*` and `?` stay within a name, `**` is any number of folders.

Python's regular expressions would take exponential time for some patterns, so only simple ones become one.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stromboli.compose.problem import quoted
from stromboli.errors import InvalidInput

LONGEST = 256 * 1024  # bytes of the file
MOST = 1_000  # patterns
_SIMPLE = 2  # wildcards of a pattern that becomes a regular expression

Matches = Callable[[str], object]
Results = tuple[bool, ...]
"""Which patterns match a folder, or one around it."""


@dataclass(frozen=True, slots=True)
class _Pattern:
    matches: Matches
    exception: bool


class Ignored:
    """The patterns of one file."""

    def __init__(self, patterns: Sequence[_Pattern] = ()) -> None:
        self._patterns = tuple(patterns)
        self.has_exceptions = any(pattern.exception for pattern in self._patterns)

    @property
    def top(self) -> Results:
        """The results of the context itself, which no pattern matches."""
        return (False,) * len(self._patterns)

    def judge(self, path: str, around: Results) -> tuple[bool, Results]:
        """Whether what is at `path`, which begins in the context, is left out; and the results for what is in it.

        `around` are the results of the folder that it is in.
        """
        left_out, results = False, []
        for pattern, before in zip(self._patterns, around, strict=True):
            matched = before or bool(pattern.matches(path))
            results.append(matched)
            if matched:
                left_out = not pattern.exception
        return left_out, tuple(results)


def parse(data: bytes) -> Ignored:
    """The patterns of a file. Raises InvalidInput; the message names the line."""
    if len(data) > LONGEST:
        raise InvalidInput(f"is too large: at most {LONGEST // 1024} KiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput("is not UTF-8 text") from error
    found = list[_Pattern]()
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("#") or not (said := line.strip()):
            continue
        exception = said.startswith("!")
        said = said.removeprefix("!").strip()
        if not said:
            raise InvalidInput(f"line {number}: a ! is followed by a pattern")
        cleaned = posixpath.normpath(said).lstrip("/")
        if not cleaned:
            continue
        if cleaned == ".":  # matches no path in the context, as in Docker
            continue
        try:
            found.append(_Pattern(_matcher(cleaned), exception))
        except ValueError as error:
            raise InvalidInput(f"line {number}: {quoted(cleaned)} is not a pattern: {error}") from error
        if len(found) > MOST:
            raise InvalidInput(f"has more than {MOST} patterns")
    return Ignored(found)


@dataclass(frozen=True, slots=True)
class _Token:
    """A part of a pattern: one character as a regular expression, or a wildcard.

    The wildcards are `*`, `**/` (nothing, or whatever ends in a slash) and `**` at the end (whatever there is).
    """

    regex: str
    wildcard: str = ""


def _matcher(pattern: str) -> Matches:
    if pattern.startswith("**") and not any(character in pattern[2:] for character in "*?[\\"):
        rest = pattern[2:]
        whole = rest.removeprefix("/")
        return lambda path: path.endswith(rest) or (rest != whole and path == whole)
    tokens = _tokens(pattern)
    if sum(1 for token in tokens if token.wildcard) <= _SIMPLE:
        return re.compile("".join(token.regex for token in tokens), re.DOTALL).fullmatch
    return _Automaton(tokens).matches


def _tokens(pattern: str) -> list[_Token]:
    """Raises ValueError."""
    found, at = list[_Token](), 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*" and pattern[at : at + 1] == "*":
            at += 1
            if pattern[at : at + 1] == "/":
                at += 1
            found.append(_Token("(?:.*/)?", "**/") if at < len(pattern) else _Token(".*", "**"))
        elif character == "*":
            found.append(_Token("[^/]*", "*"))
        elif character == "?":
            found.append(_Token("[^/]"))
        elif character == "[":
            regex, at = _class(pattern, at)
            found.append(_Token(regex))
        elif character == "\\":
            if at == len(pattern):
                raise ValueError("a backslash is followed by a character")
            found.append(_Token(re.escape(pattern[at])))
            at += 1
        else:
            found.append(_Token(re.escape(character)))
    return found


def _class(pattern: str, at: int) -> tuple[str, int]:
    """A `[…]` whose inside begins at `at`, and where it ends. Raises ValueError."""
    negated = pattern[at : at + 1] == "^"
    at += negated
    parts = list[str]()
    while at < len(pattern) and (pattern[at] != "]" or not parts):
        low, at = _one(pattern, at)
        if pattern[at : at + 1] == "-":
            high, at = _one(pattern, at + 1)
            if high < low:
                raise ValueError("a range ends before it begins")
            parts.append(f"{re.escape(low)}-{re.escape(high)}")
        else:
            parts.append(re.escape(low))
    if at == len(pattern):
        raise ValueError("a [ has no end")
    inside = "".join(parts)
    return (f"(?!/)[^{inside}]" if negated else f"(?!/)[{inside}]"), at + 1


def _one(pattern: str, at: int) -> tuple[str, int]:
    at += pattern[at : at + 1] == "\\"
    if at >= len(pattern) or (pattern[at] in "]-" and pattern[at - 1 : at] != "\\"):
        raise ValueError("a [ has no end")
    return pattern[at], at + 1


class _Automaton:
    """Matches in time proportional to pattern times path: after each character, the set of positions that it may be at
    in the pattern.
    """

    def __init__(self, tokens: Sequence[_Token]) -> None:
        self._tokens = tuple(tokens)
        self._single = [None if token.wildcard else re.compile(token.regex, re.DOTALL) for token in tokens]

    def matches(self, path: str) -> bool:
        # Beside each position, whether it is within a `**/` that has begun, and so has to end with a slash.
        states = self._closed({(0, False)})
        for character in path:
            states = self._closed(self._after(states, character))
            if not states:
                return False
        return (len(self._tokens), False) in states

    def _closed(self, states: set[tuple[int, bool]]) -> set[tuple[int, bool]]:
        """With the positions that are reached without a character."""
        todo = list(states)
        while todo:
            at, within = todo.pop()
            if not within and at < len(self._tokens) and self._tokens[at].wildcard:
                following = (at + 1, False)
                if following not in states:
                    states.add(following)
                    todo.append(following)
        return states

    def _after(self, states: set[tuple[int, bool]], character: str) -> set[tuple[int, bool]]:
        reached = set[tuple[int, bool]]()
        for at, within in states:
            if at == len(self._tokens):
                continue
            single, wildcard = self._single[at], self._tokens[at].wildcard
            if single is not None:
                if single.fullmatch(character):
                    reached.add((at + 1, False))
            elif wildcard == "**/":
                reached.add((at, True))
                if character == "/":
                    reached.add((at + 1, False))
            elif wildcard == "**" or character != "/":
                reached.add((at, within))
        return reached
