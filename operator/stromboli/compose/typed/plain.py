"""The tree → the plain values that the models are made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stromboli.compose.document.node import Date, Node
from stromboli.compose.problem import Path, problem

LONGEST = 64 * 1024
"""Characters of a string; the longest that an argument or a variable of a process can be is twice that, in bytes."""


def plain(node: Node, path: Path = ()) -> Any:
    """Dicts, lists and scalars, a Date among them. Raises ComposeProblem for a string that can be of no use."""
    value = node.value
    if isinstance(value, str):
        _check(value, node, path)
        return value
    if value is None or isinstance(value, bool | int | float | Date):
        return value
    found = {part: plain(child, _step(path, part, child)) for part, child in node.children()}
    return found if isinstance(value, Mapping) else list(found.values())


def _step(path: Path, part: str | int, child: Node) -> Path:
    return (*path, part if child.item is None else child.item)


def _check(text: str, node: Node, path: Path) -> None:
    if len(text) >= LONGEST:
        raise problem(path, f"has {len(text)} characters; a text in a compose file has less than {LONGEST}", node.mark)
    if "\0" in text:
        raise problem(path, "has a NUL character in it; take it out", node.mark)
