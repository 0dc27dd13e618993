"""Variables in the values of one file: every text is expanded, keys are not. Before extends and merge."""

from __future__ import annotations

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
        self._known: dict[str, str] = {}  # an alias repeats a text up to a hundred thousand times
        self._unset: dict[str, None] = {}
        self._length = 0

    def warnings(self) -> tuple[str, ...]:
        names = tuple(self._unset)
        named = tuple(f"variable {quoted(name)} is not set; it is empty" for name in names[:MAX_NAMED])
        rest = len(names) - MAX_NAMED
        return (*named, f"{rest} more variables are not set; they are empty") if rest > 0 else named

    def node(self, node: Node, path: Path) -> Node:
        value = node.value
        expanded: Value
        if isinstance(value, str):
            expanded = self._text(value, node, path)
            return node if expanded is value else Node(expanded, node.mark, node.item)
        changed = False
        children: dict[str | int, Node] = {}
        for key, child in node.children():
            children[key] = self.node(child, (*path, key))
            changed |= children[key] is not child
        if not changed:
            return node
        if isinstance(value, Mapping):
            expanded = {key: child for key, child in children.items() if isinstance(key, str)}
        else:
            expanded = tuple(children.values())
        return Node(expanded, node.mark, node.item)

    def _text(self, text: str, node: Node, path: Path) -> str:
        if (known := self._known.get(text)) is None:
            found = substitution.expand(text, self._variables, MAX_TEXT)
            if isinstance(found, substitution.Wrong):
                piece = f": {quoted(found.piece)}" if found.piece else ""
                raise problem(path, found.what + piece, node.mark)
            self._unset.update(dict.fromkeys(found.unset))
            self._known[text] = known = found.text
        if known is not text:
            self._length += len(known)
            if self._length > MAX_TEXT:
                raise problem(path, f"has too much text: all values with variables have at most {MAX_TEXT} characters")
        return known
