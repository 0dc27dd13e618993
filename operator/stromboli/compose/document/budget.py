"""How many values all files of a stack may have together, after everything is expanded.

A file is bounded when it is read; but a range of ports stands for many values, and a service may be extended by many.
"""

from __future__ import annotations

from stromboli.compose.document.node import Node
from stromboli.compose.problem import Path, problem

MOST_VALUES = 200_000


class Budget:
    """What is left of the values. One for all files of a stack."""

    def __init__(self, values: int = MOST_VALUES) -> None:
        self._most = self._left = values

    def spend(self, node: Node, at: Path) -> None:
        """Count the values of a tree. Raises ComposeProblem if they are too many; it takes no longer than to that."""
        nodes = [node]
        while nodes:
            value = nodes.pop().value
            self._left -= 1
            if isinstance(value, str):  # most are
                continue
            if isinstance(value, dict):
                nodes += value.values()
            elif isinstance(value, tuple):
                nodes += value
            if self._left < len(nodes):
                raise problem(at, f"the files have more than {self._most} values, once they are expanded", node.mark)
