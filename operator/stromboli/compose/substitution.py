"""Variables in a text: `$NAME`, `${NAME}`, `${NAME:-text}` and their like, as Compose has them. Pure.

What is substituted is not expanded again; the text of a default is expanded only if it is used. Nothing is recursive,
each character of the text is visited a bounded number of times, and the result has a bound that the caller sets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_VARIABLE = re.compile(r"\$(?:(?P<escaped>\$)|(?P<named>[A-Za-z_][A-Za-z0-9_]*)|(?P<braced>\{))", re.ASCII)
_BRACED = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<end>\})|(?P<colon>:?)(?P<sign>[-?+]))", re.ASCII)
_BRACE_OR_NEWLINE = re.compile(r"[{}\n]")
SHOWN = 60  # characters of a text, at most, that go into a Wrong


@dataclass(frozen=True, slots=True)
class Expanded:
    """`unset` are the variables that have no value and no default, each once, in order."""

    text: str
    unset: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wrong:
    """Why a text cannot be expanded. `what` has nothing of the text; `piece` is the part of it that is wrong."""

    what: str
    piece: str = ""


def expand(text: str, variables: Mapping[str, str], longest: int) -> Expanded | Wrong:
    """The text with its variables replaced: at most `longest` characters."""
    if "$" not in text:
        return Expanded(text)
    return _Expansion(text, variables, longest).run()


class _Expansion:
    def __init__(self, text: str, variables: Mapping[str, str], longest: int) -> None:
        self._text, self._variables, self._longest = text, variables, longest
        self._closing = _closing_braces(text) if "${" in text else {}
        self._out: list[str] = []
        self._length = 0
        self._unset: dict[str, None] = {}
        self._later: list[tuple[int, int]] = [(0, len(text))]  # the parts still to be expanded, the next one last

    def run(self) -> Expanded | Wrong:
        while self._later:
            start, end = self._later.pop()
            if (wrong := self._part(start, end)) is not None:
                return wrong
            if self._length > self._longest:
                return Wrong("is too long after its variables are replaced")
        return Expanded("".join(self._out), tuple(self._unset))

    def _part(self, start: int, end: int) -> Wrong | None:
        """Expand up to the next text of a `${…}` that is used; what is left of this part comes after that text."""
        while (found := _VARIABLE.search(self._text, start, end)) is not None:
            self._put(self._text[start : found.start()])
            start = found.end()
            if found["escaped"]:
                self._put("$")
            elif found["named"]:
                self._put_value(found["named"])
            else:
                braced = self._braced(found.end() - 1, end)
                if isinstance(braced, Wrong):
                    return braced
                start, inner = braced
                if inner is not None:
                    self._later += ((start, end), inner)
                    return None
            if self._length > self._longest:
                return None
        self._put(self._text[start:end])
        return None

    def _braced(self, at: int, end: int) -> tuple[int, tuple[int, int] | None] | Wrong:
        """Where the text goes on after the `${…}` whose brace is at `at`, and the part in it that is to be expanded."""
        found = _BRACED.match(self._text, at + 1, end)
        close = self._closing.get(at, end)
        if found is None or close >= end:
            return Wrong(
                "has a ${ that begins no variable: write ${NAME} or ${NAME:-default}, and $$ for a dollar sign",
                self._text[at - 1 : min(end, at + SHOWN)],
            )
        name = found["name"]
        if found["end"]:
            self._put_value(name)
            return found.end(), None
        value = self._variables.get(name)
        present = bool(value) if found["colon"] else value is not None
        inner = (found.end(), close)
        match found["sign"]:
            case "-" if not present:
                return close + 1, inner
            case "+" if present:
                return close + 1, inner
            case "?" if not present:
                state = "empty" if value is not None else "not set"
                return Wrong(f"requires a variable that is {state}", self._text[at - 1 : min(close + 1, at + SHOWN)])
        if found["sign"] != "+":
            self._put(value or "")
        return close + 1, None

    def _put_value(self, name: str) -> None:
        value = self._variables.get(name)
        if value is None:
            self._unset[name] = None
        else:
            self._put(value)

    def _put(self, text: str) -> None:
        self._out.append(text)
        self._length += len(text)


def _closing_braces(text: str) -> dict[int, int]:
    """Each opening brace's closing one, where both are in one line."""
    closing: dict[int, int] = {}
    opened: list[int] = []
    for found in _BRACE_OR_NEWLINE.finditer(text):
        match found[0]:
            case "{":
                opened.append(found.start())
            case "}" if opened:
                closing[opened.pop()] = found.start()
            case "\n":
                opened.clear()
    return closing
