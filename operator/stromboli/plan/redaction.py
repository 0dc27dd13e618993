"""Redacts the values of secrets from statuses: a hook or an agent can print what it was given. Pure.

A text is redacted first and clipped afterwards: if it were clipped first, it could end with most of a key. Values are
found literally, as JSON writes them, and line by line; and so is everything in the form of one of Anthropic's keys. A
secret that is encoded before it is printed is not found, as with any filter.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from stromboli import bounds
from stromboli.plan.needles import Needles

SHORTEST = 8  # characters: shorter values occur in too many texts
LONGEST = 4096  # characters: longer ones are found piece by piece, since a text is read in windows of this size
MASK = "***"
WITHHELD = "(withheld: the secrets that the attempt was given are no longer known)"

# The form in which Anthropic issues keys: how they begin, and how many characters follow.
KEY_BEGINS = "sk-ant-"
KEY_SHORTEST, KEY_LONGEST = 16, 512
_KEY = re.compile(rf"{KEY_BEGINS}[A-Za-z0-9_-]{{{KEY_SHORTEST},{KEY_LONGEST}}}")


class Secrets:
    """What an attempt was given and must not be shown. `forms` are the ways in which it may be written.

    If they are not `known`, every text is withheld, since it could contain any of them.
    """

    def __init__(self, values: Iterable[str], *, known: bool = True) -> None:
        self.values = tuple(sorted({value for value in values if len(value) >= SHORTEST}))
        self.known = known
        self.forms = frozenset(form for value in self.values for form in _forms(value))
        self._needles = Needles(self.forms, SHORTEST)
        # No secret is longer, in characters or in bytes of UTF-8.
        self.longest = max(
            [KEY_LONGEST + len(KEY_BEGINS), *(len(form.encode("utf-8", "replace")) for form in self.forms)]
        )

    def text(self, said: str) -> str:
        """A text without them."""
        return self._masked(said, 0, len(said)) if self.known else _withheld(said)

    def head(self, said: str, limit: int) -> tuple[str, bool]:
        """The first `limit` bytes of a text without them, and whether there was more."""
        if not self.known:
            return _withheld(said), False
        # What begins before the limit ends within this window.
        text = self._masked(said[: limit + self.longest], 0, limit)
        data = text.encode("utf-8", "replace")
        return data[:limit].decode("utf-8", "ignore"), len(said) > limit or len(data) > limit

    def tail(self, said: str, limit: int, *, cut: bool) -> str:
        """The last `limit` bytes of a text without them; `cut` says that it may begin with the rest of a secret."""
        if not self.known:
            return _withheld(said)
        text = self._masked(said, self.longest if cut else 0, len(said))
        return text.encode("utf-8", "replace")[-limit:].decode("utf-8", "ignore") if limit > 0 else ""

    def value(self, value: Any) -> Any:
        """A JSON value whose strings, keys included, are without them. Its depth is bounded in plan/answer.py."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, dict):
            return {self.text(key): self.value(item) for key, item in value.items()}
        return value

    def _masked(self, said: str, begin: int, end: int) -> str:
        """`said[begin:end]`; a secret that reaches over an edge is masked whole."""
        parts = []
        for start, stop in self._spans(said):
            if stop <= begin or start >= end:
                continue
            parts += [said[begin:start], MASK]
            begin = stop
        return "".join([*parts, said[begin:end]])

    def _spans(self, said: str) -> Iterator[tuple[int, int]]:
        """Where they stand, in order; those that overlap are one."""
        found = [match.span() for match in _KEY.finditer(said)]
        found += self._needles.spans(said)
        begin = end = -1
        for start, stop in sorted(found):
            if start > end:
                if end >= 0:
                    yield begin, end
                begin = start
            end = max(end, stop)
        if end >= 0:
            yield begin, end


UNKNOWN = Secrets((), known=False)
KEYS = Secrets(())  # of what was given nothing is known here: what has the shape of a key is masked


def given(env: Mapping[str, bytes], credentials: bytes | None) -> Secrets:
    """All that has to stay secret of Claude's credentials: variables, and the strings of the CLI's own file."""
    values = [value.decode("utf-8", "replace") for value in env.values()]
    if credentials is not None:
        try:
            values += _strings(bounds.json_document(credentials, bounds.DOCUMENT))
        except ValueError:
            values.append(credentials.decode("utf-8", "replace"))
    return Secrets(values)


def taken(values: Iterable[bytes]) -> Secrets:
    """What a run takes from Secrets. A value can be a JSON document with secrets in it, such as an account's key."""
    said: list[str] = []
    for value in values:
        said.append(value.decode("utf-8", "replace"))
        if value.lstrip()[:1] in (b"{", b"["):
            with contextlib.suppress(ValueError):
                said += _strings(bounds.json_document(value, bounds.DOCUMENT))
    return Secrets(said)


def of_files(contents: Iterable[bytes]) -> Secrets:
    """Secrets that are files, as a service mounts them."""
    return Secrets(content.decode("utf-8", "replace").strip() for content in contents)


def _forms(value: str) -> Iterator[str]:
    """The ways in which a value is written: also on lines of a terminal's, and by itself each of its lines."""
    plain = value.replace("\r\n", "\n").replace("\r", "\n")
    lines = [line.strip() for line in plain.split("\n")]
    for text in (value, plain, *(line for line in lines if len(line) >= SHORTEST)):
        for piece in _pieces(text):
            yield piece
            yield json.dumps(piece)[1:-1]
            yield json.dumps(piece, ensure_ascii=False)[1:-1]


def _pieces(text: str) -> Iterator[str]:
    """The text, in pieces of at most LONGEST characters; none is too short to be found."""
    whole = range(0, max(len(text) - SHORTEST, 1), LONGEST)
    for at in whole:
        yield text[at : at + LONGEST] if at != whole[-1] else text[at:]


def _withheld(said: str) -> str:
    return WITHHELD if said else ""


def _strings(document: Any) -> Iterator[str]:
    """Every string of a JSON document, however deep."""
    left = [document]
    while left:
        match left.pop():
            case str(text):
                yield text
            case list(items):
                left += items
            case dict(fields):
                left += fields.values()
