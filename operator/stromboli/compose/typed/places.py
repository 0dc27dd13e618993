"""Where the parts of a document stand: the models' errors, and messages of later checks, get key, file and line."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping

from pydantic import ValidationError

from stromboli.compose import problem
from stromboli.compose.document.node import Node
from stromboli.compose.problem import Mark, Path
from stromboli.compose.typed.base import Loc, Wrong
from stromboli.errors import ComposeProblem

_COMPARED = 100  # errors; whoever has more begins with one of these


class Places:
    """The places of one document."""

    def __init__(self, root: Node) -> None:
        self._root = root

    def at(self, *loc: str | int) -> str:
        """The key of a value, as messages have it."""
        return problem.key(self._find(loc)[0])

    def problem(self, loc: Loc, what: str, *, permitted: bool = True) -> ComposeProblem:
        """What is wrong with the value there, or that a policy does not permit it."""
        path, mark = self._find(loc)
        return problem.problem(path, what, mark, permitted=permitted)

    def mark(self, *loc: str | int) -> Mark:
        """The file and line of a value, or of the nearest one around it."""
        return self._find(loc)[1]

    def first(self, errors: ValidationError) -> ComposeProblem:
        """The error that comes first in the document; services come after everything else."""
        some = errors.errors(include_url=False, include_input=False)[:_COMPARED]
        found = [self._found(each) for each in some]
        loc, what = min(found, key=lambda one: (one[0][:1] == ("services",), self._position(one[0])))
        return self.problem(loc, what)

    def below(self, loc: Loc, depth: int) -> Iterator[tuple[str, Mark]]:
        """The keys of a value and of those inside it, `depth` levels down, each with its place."""
        node = self._root.at(loc)
        if node is not None:
            yield from _below(node, self.at(*loc), depth)

    def within(self, *loc: str | int) -> Within:
        """The keys of what is inside a value."""
        return Within(self._root.at(loc), self.at(*loc))

    def _find(self, loc: Loc) -> tuple[Path, Mark]:
        """The path and the place."""
        node, path = self._root, list[str | int | None]()
        for n, part in enumerate(loc):
            child = node.child(part)
            if child is None:
                return (*path, *loc[n:]), node.mark
            node = child
            path.append(part if node.item is None else node.item)
        return tuple(path), node.mark

    def _position(self, loc: Loc) -> tuple[int, ...]:
        """Where the value is among the others: what comes first in the document comes first."""
        node, position = self._root, list[int]()
        for part in loc:
            child = node.child(part)
            if child is None:
                break
            position.append(next(n for n, (other, _) in enumerate(node.children()) if other == part))
            node = child
        return tuple(position)

    @staticmethod
    def _found(error: Mapping[str, object]) -> tuple[Loc, str]:
        """The place and the sentence of one of pydantic's errors."""
        loc = error["loc"]
        assert isinstance(loc, tuple)
        context = error.get("ctx")
        cause = context.get("error") if isinstance(context, dict) else None
        if isinstance(cause, Wrong):
            return (*loc, *cause.loc), cause.what
        if error["type"] == "missing":
            return loc[:-1], f"has no {loc[-1]}, which it needs"
        return loc, str(cause or error["msg"])


def _below(node: Node, at: str, depth: int) -> Iterator[tuple[str, Mark]]:
    yield at, node.mark
    if depth:
        for part, child in node.children():
            yield from _below(child, at + problem.step(part if child.item is None else child.item), depth - 1)


class Within:
    """The keys, as messages have them, of what is inside one value: faster than from the top, as there are many."""

    def __init__(self, node: Node | None, at: str) -> None:
        self._node, self._at = node, at

    def __call__(self, *loc: str | int) -> str:
        node, at = self._node, self._at
        for part in loc:
            node = node.child(part) if node is not None else None
            at += problem.step(part if node is None or node.item is None else node.item)
        return at


class Marks(Mapping[str, Mark]):
    """Places by key, looked up when the first of them is asked for: mostly, none is."""

    def __init__(self, find: Callable[[], Iterable[tuple[str, Mark]]]) -> None:
        self._find = find

    @functools.cached_property
    def _found(self) -> dict[str, Mark]:
        return dict(self._find())

    def __getitem__(self, at: str) -> Mark:
        return self._found[at]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)
