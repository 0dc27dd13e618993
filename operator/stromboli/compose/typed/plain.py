"""The tree → the plain values that the models are made from."""

from __future__ import annotations

from typing import Any

from stromboli.compose.document.node import Node
from stromboli.compose.problem import Path, problem

LONGEST = 64 * 1024
"""Characters of a string; the longest that an argument or a variable of a process can be is twice that, in bytes."""


def plain(node: Node, path: Path = ()) -> Any:
    """Dicts, lists and scalars, a Date among them. Raises ComposeProblem for a string that can be of no use."""
    value = node.value
    if isinstance(value, dict):
        return {part: _inner(child, path, part) for part, child in value.items()}
    if isinstance(value, tuple):
        return [_inner(child, path, n) for n, child in enumerate(value)]
    if isinstance(value, str):
        _check(value, node, path)
    return value


def _inner(child: Node, path: Path, part: str | int) -> Any:
    value = child.value
    if isinstance(value, str) and len(value) < LONGEST and "\0" not in value:  # most are
        return value
    return plain(child, _step(path, part, child))


def _step(path: Path, part: str | int, child: Node) -> Path:
    return (*path, part if child.item is None else child.item)


def _check(text: str, node: Node, path: Path) -> None:
    if len(text) >= LONGEST:
        raise problem(path, f"has {len(text)} characters; a text in a compose file has less than {LONGEST}", node.mark)
    if "\0" in text:
        raise problem(path, "has a NUL character in it; take it out", node.mark)
