"""Variables in the values of one file: every text is expanded, keys are not. Before extends and merge."""

from __future__ import annotations

import operator
from collections.abc import Mapping

from stromboli.compose import substitution
from stromboli.compose.document.node import Node, Value
from stromboli.compose.problem import Path, problem, quoted

MAX_TEXT = 4 * 1024 * 1024  # characters of all values that were expanded
MAX_NAMED = 20  # variables, each in a warning of its own


def interpolate(root: Node, variables: Mapping[str, str]) -> tuple[Node, tuple[str, ...]]:
    """The tree with its variables replaced, and warnings of variables that have neither a value nor a default.

    Raises ComposeProblem.
    """
    expansion = _Interpolation(variables)
    expanded = expansion.node(root, ())
    return expanded, expansion.warnings()


class _Interpolation:
    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._unset: dict[str, None] = {}
        self._left = MAX_TEXT

    def warnings(self) -> tuple[str, ...]:
        names = tuple(self._unset)
        named = tuple(f"variable {quoted(name)} is not set; it is empty" for name in names[:MAX_NAMED])
        rest = len(names) - MAX_NAMED
        return (*named, f"{rest} more variables are not set; they are empty") if rest > 0 else named

    def node(self, node: Node, path: Path) -> Node:
        """The value with its variables replaced: the same one if it has none. As deep a recursion as the tree is."""
        value = node.value
        expanded: Value
        if isinstance(value, dict):
            expanded = {key: self._inner(child, path, key) for key, child in value.items()}
            same = all(map(operator.is_, expanded.values(), value.values()))
        elif isinstance(value, tuple):
            expanded = tuple([self._inner(child, path, index) for index, child in enumerate(value)])
            same = all(map(operator.is_, expanded, value))
        elif isinstance(value, str):
            expanded = self._text(value, node, path)
            same = expanded is value
        else:
            return node
        return node if same else Node(expanded, node.mark, node.item)

    def _inner(self, child: Node, path: Path, part: str | int) -> Node:
        literal = isinstance(child.value, str) and "$" not in child.value  # most are
        return child if literal else self.node(child, (*path, part))

    def _text(self, text: str, node: Node, path: Path) -> str:
        if "$" not in text:
            return text
        found = substitution.expand(text, self._variables, self._left)
        if isinstance(found, substitution.Wrong):
            piece = f": {quoted(found.piece, substitution.SHOWN)}" if found.piece else ""
            raise problem(path, found.what + piece, node.mark)
        self._left -= len(found.text)
        self._unset.update(dict.fromkeys(found.unset))
        return found.text
