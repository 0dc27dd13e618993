"""A value of a compose file, with its place. Trees of these are never changed: each step makes a new one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Union

from stromboli.compose.problem import Mark, Path

Value = Union[None, bool, int, float, str, "Date", tuple["Node", ...], dict[str, "Node"]]


@dataclass(frozen=True, slots=True)
class Date:
    """A plain date or time of YAML, such as 2020-01-01: Compose refuses it where text is meant."""

    text: str


@dataclass(slots=True)
class Node:
    """One value. Its fields are Final since making a frozen one takes four times as long, and there are thousands.

    `item` is its index or key where it was written, if it is elsewhere now: a list of the file has become a mapping, or
    was appended to another one. Messages are about `depends_on[0]` then, not about `depends_on.db`.
    """

    value: Final[Value]
    mark: Final[Mark]
    item: Final[int | str | None] = None

    def children(self) -> Iterator[tuple[str | int, Node]]:
        """The values of a mapping or a list, each with its key or index; nothing for a scalar."""
        value = self.value
        if isinstance(value, dict):
            yield from value.items()
        elif isinstance(value, tuple):
            yield from enumerate(value)

    def at(self, path: Path) -> Node | None:
        """The value at a path below this one; None if there is none."""
        here: Node | None = self
        for part in path:
            here = here.child(part) if here is not None else None
        return here

    def child(self, part: str | int | None) -> Node | None:
        """The value of a key or at an index; None if there is none."""
        value = self.value
        if isinstance(value, dict):
            return value.get(part) if isinstance(part, str) else None
        if isinstance(value, tuple) and isinstance(part, int):
            return value[part] if 0 <= part < len(value) else None
        return None
