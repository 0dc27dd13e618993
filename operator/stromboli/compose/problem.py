"""What is wrong with a compose file: which key, in which file and line, and what would be right."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from stromboli import visible
from stromboli.errors import ComposeProblem

_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,100}")
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


def problem(path: Sequence[str | int | None], what: str, mark: Mark | None = None) -> ComposeProblem:
    """The problem of the key at this path."""
    return ComposeProblem(key(path), what, str(mark) if mark is not None else "")


def key(path: Sequence[str | int | None]) -> str:
    """The path as messages have it: keys joined by dots, `[0]` for items, `["a b"]` for unusual keys.

    A name such as `x-db` is among the unusual ones: below the top level it is easily taken for an extension.

    Of a very deep path, messages have the beginning.
    """
    out = ""
    for part in path[:_DEEPEST]:
        if part is None:
            out += "[null]"
        elif isinstance(part, int):
            out += f"[{part}]"
        elif _PLAIN.fullmatch(part) and not (out and part.startswith("x-")):
            out += f".{part}" if out else part
        else:
            out += '["' + quoted(part).replace('"', '\\"') + '"]'
    return f"{out}…" if len(path) > _DEEPEST else out


def quoted(text: str, longest: int = 40) -> str:
    """A short, escaped piece of a file's text, for a message."""
    cut = text if len(text) <= longest else f"{text[:longest]}…"
    return visible.text(cut).replace("\n", "\\n").replace("\t", "\\t")
