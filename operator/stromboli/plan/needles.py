"""Finds any of many strings in a text, or in bytes. Pure.

With a few of them, each is searched for by itself, which is fast. A Secret may have thousands of lines, for each of
which an output would be searched: then each place of the output is looked at once, whatever their number.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

S = TypeVar("S", str, bytes)
FEW = 64


class Needles(Generic[S]):
    """Strings of at least `shortest` characters or bytes each."""

    def __init__(self, needles: Iterable[S], shortest: int) -> None:
        self._sorted: list[S] = sorted(set(needles))
        self._shortest = shortest
        self._beginnings: frozenset[S] = frozenset(needle[:shortest] for needle in self._sorted)
        self.longest = max(map(len, self._sorted), default=0)

    def spans(self, text: S) -> Iterator[tuple[int, int]]:
        """Where they are, in any order, and overlapping; of several that begin at the same place, the longest."""
        if len(self._sorted) <= FEW:
            for needle in self._sorted:
                at = text.find(needle)
                while at >= 0:
                    yield at, at + len(needle)
                    at = text.find(needle, at + 1)
            return
        beginnings, width = self._beginnings, self._shortest
        for at in range(len(text) - width + 1):
            if text[at : at + width] in beginnings and (length := self._at(text, at)):
                yield at, at + length

    def begun(self, text: S) -> int:
        """The length of the longest end of the text that begins one of them and is shorter than it."""
        for at in range(max(len(text) - self.longest + 1, 0), len(text)):
            if (len(text) - at < self._shortest or text[at : at + self._shortest] in self._beginnings) and (
                self._begins_with(text[at:])
            ):
                return len(text) - at
        return 0

    def _at(self, text: S, at: int) -> int:
        """The length of the longest of them that is at this place; 0 if there is none.

        What begins the text is at most as large as it, and everything in between begins with it too.
        """
        rest = text[at : at + self.longest]
        while (before := bisect_right(self._sorted, rest)) > 0:
            found = self._sorted[before - 1]
            if rest.startswith(found):
                return len(found)
            rest = rest[: _common(rest, found)]
        return 0

    def _begins_with(self, end: S) -> bool:
        at = bisect_right(self._sorted, end)  # what is longer, and begins with it, comes right after it
        return at < len(self._sorted) and self._sorted[at].startswith(end)


def _common(one: S, other: S) -> int:
    """How many characters they have in common at their beginning."""
    return bisect_left(range(min(len(one), len(other))), True, key=lambda n: one[: n + 1] != other[: n + 1])
