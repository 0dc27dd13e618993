"""Files of variables, as Compose reads them: `.env` and env_file, and env_file's `format: raw`. Pure.

No message has anything of such a file's text, which may be a secret: only the file's name and the line. A problem's
`what` names both and its `key` is empty; who knows the key that names the file adds it.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Mapping
from typing import cast

from stromboli.compose import substitution
from stromboli.errors import ComposeProblem

MAX_SIZE = 1024 * 1024  # bytes
MAX_TEXT = 4 * 1024 * 1024  # characters of all values: each line may repeat what earlier ones hold

_SPACE = "\t\v\f\r \x85\xa0"  # what separates in a line
_SKIPPED = re.compile(rf"(?:[{_SPACE}\n\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]++|#[^\n]*+)*+")
_EXPORT = re.compile(rf"export[{_SPACE}]++")
_KEY = re.compile(rf"[\w.\[\]\-{_SPACE}]*+")
_BLANKS = re.compile(rf"[{_SPACE}]*+")
_QUOTED = {
    '"': re.compile(r'"((?:[^"\\]++|\\.)*+)"', re.DOTALL),
    "'": re.compile(r"'((?:[^'\\]++|\\.)*+)'", re.DOTALL),
}
_REST = re.compile(rf"[{_SPACE}]*+(?:#[^\n]*+)?(?:\n|\Z)")
_ESCAPE = re.compile(r'\\(?:([abfnrtv$"\\])|0([0-3][0-7]{2}))')
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", '"': '"', "\\": "\\"}
_ESCAPED["$"] = "$$"  # a dollar sign that begins no variable


def parse(
    data: bytes, file: str, lookup: Mapping[str, str], earlier: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The variables that the file sets.

    `${X}` in a value is looked up in `lookup`, then among the file's own earlier lines, then in `earlier`: what files
    before this one have set. A name alone takes its value from `lookup`; if it has none there, it is not set.
    """
    return _File(_decoded(data, file), file, lookup, earlier or {}).read()


def either(*several: Mapping[str, str]) -> Mapping[str, str]:
    """The first of these that has a variable answers for it. Nothing is copied: they may be large."""
    return ChainMap(*(cast("dict[str, str]", one) for one in several))


def raw(data: bytes, file: str, lookup: Mapping[str, str]) -> dict[str, str]:
    """The variables of a file in which each line is `NAME=value` and the value is meant as it stands."""
    values: dict[str, str] = {}
    for number, each in enumerate(_decoded(data, file).split("\n"), start=1):
        line = each.removesuffix("\r").lstrip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not name or re.search(r"\s", name):
            raise _wrong(file, number, "is not NAME=value")
        if equals:
            values[name] = value
        elif name in lookup:
            values[name] = lookup[name]
    return values


class _File:
    def __init__(self, text: str, file: str, lookup: Mapping[str, str], earlier: Mapping[str, str]) -> None:
        self._text, self._file, self._lookup = text, file, lookup
        self._values: dict[str, str] = {}
        self._known = either(lookup, self._values, earlier)
        self._left = MAX_TEXT

    def read(self) -> dict[str, str]:
        at = 0
        while (at := _end(_SKIPPED, self._text, at)) < len(self._text):
            at = self._statement(at)
        return self._values

    def _statement(self, start: int) -> int:
        """Read what sets one variable; where the text goes on after it."""
        exported = _EXPORT.match(self._text, start)
        begin = exported.end() if exported is not None else start
        end = _end(_KEY, self._text, begin)
        name = self._text[begin:end].strip(_SPACE)
        sign = self._text[end : end + 1]
        if not name or sign not in ("", "\n", "=", ":") or any(blank in name for blank in _SPACE):
            raise self._wrong(start, "is not NAME=value")
        if sign in ("", "\n"):
            if name in self._lookup:
                self._set(name, self._lookup[name], start)
            return end + len(sign)
        return self._assignment(name, start, _end(_BLANKS, self._text, end + 1))

    def _assignment(self, name: str, start: int, at: int) -> int:
        quote = self._text[at : at + 1]
        if quote not in _QUOTED:
            end = self._text.find("\n", at)
            end = len(self._text) if end < 0 else end
            value = self._text[at:end].partition(" #")[0].rstrip()
            self._set(name, self._expanded(value, start), start)
            return end
        found = _QUOTED[quote].match(self._text, at)
        if found is None:
            raise self._wrong(start, "has a quote without an end")
        rest = _REST.match(self._text, found.end())
        if rest is None:
            raise self._wrong(start, "has text after the value's closing quote")
        value = found[1].replace(f"\\{quote}", quote) if quote == "'" else self._expanded(_unescaped(found[1]), start)
        self._set(name, value, start)
        return rest.end()

    def _expanded(self, value: str, start: int) -> str:
        found = substitution.expand(value, self._known, self._left)
        if isinstance(found, substitution.Wrong):
            raise self._wrong(start, found.what)
        return found.text

    def _set(self, name: str, value: str, start: int) -> None:
        if "\0" in value:
            raise self._wrong(start, "has a NUL character in its value")
        self._left -= len(value)
        if self._left < 0:
            raise self._wrong(start, f"is one too many: all values have at most {MAX_TEXT} characters")
        self._values[name] = value

    def _wrong(self, at: int, what: str) -> ComposeProblem:
        return _wrong(self._file, self._text.count("\n", 0, at) + 1, what)


def _decoded(data: bytes, file: str) -> str:
    if len(data) > MAX_SIZE:
        raise ComposeProblem("", f"{file} is too large: at most {MAX_SIZE} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise _wrong(file, data.count(b"\n", 0, e.start) + 1, "is not UTF-8 text") from None
    if "\0" in text:
        raise _wrong(file, text.count("\n", 0, text.index("\0")) + 1, "has a NUL character")
    return text


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: _ESCAPED[found[1]] if found[1] else chr(int(found[2], 8)), text)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where the pattern, which matches at every place, ends."""
    found = pattern.match(text, at)
    return found.end() if found is not None else at


def _wrong(file: str, line: int, what: str) -> ComposeProblem:
    return ComposeProblem("", f"line {line} of {file} {what}")
