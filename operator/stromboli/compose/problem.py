"""What is wrong with a compose file: which key, in which file and line, and what would be right."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from stromboli import visible
from stromboli.errors import ComposeProblem, NotPermitted

_LONGEST = 100  # characters of a key that a message has whole
_PLAIN = re.compile(rf"[A-Za-z0-9_-]{{1,{_LONGEST}}}")
_DEEPEST = 16  # keys of a path that a message has

Path = tuple[str | int | None, ...]
"""A place in the document: `("services", "db", "cap_add", 0)`."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A line (from 1) of one of the stack's files. `file` is its name as the user gave it, for messages."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def problem(
    path: Sequence[str | int | None], what: str, mark: Mark | None = None, *, permitted: bool = True
) -> ComposeProblem:
    """The problem of the key at this path, or that a policy does not permit it."""
    return (ComposeProblem if permitted else NotPermitted)(key(path), what, str(mark) if mark is not None else "")


def key(path: Sequence[str | int | None]) -> str:
    """The path as messages have it: keys joined by dots, `[0]` for items, `["a b"]` for unusual keys.

    A name such as `x-db` is among the unusual ones: below the top level it is easily taken for an extension.

    Of a very deep path, messages have the beginning.
    """
    out = "".join([step(part) for part in path[:_DEEPEST]])
    if path and isinstance(path[0], str) and _PLAIN.fullmatch(path[0]):
        out = path[0] + out[len(step(path[0])) :]
    return f"{out}…" if len(path) > _DEEPEST else out


def step(part: str | int | None) -> str:
    """One part of a path, below others: what comes after their key."""
    if not isinstance(part, str):
        return f"[{part}]" if part is not None else "[null]"
    return _known_step(part) if len(part) <= _LONGEST else _named_step(part)


def _named_step(part: str) -> str:
    if _PLAIN.fullmatch(part) and not part.startswith("x-"):
        return f".{part}"
    return '["' + quoted(part).replace('"', '\\"') + '"]'


_known_step = functools.lru_cache(maxsize=1024)(_named_step)


def quoted(text: str, longest: int = 40) -> str:
    """A short, escaped piece of a file's text, for a message."""
    cut = text if len(text) <= longest else f"{text[:longest]}…"
    return visible.text(cut).replace("\n", "\\n").replace("\t", "\\t")
