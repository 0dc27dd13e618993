"""How many bytes, and how many values after everything is expanded, all files of a stack may have together.

A file is bounded when it is read; but a range of ports stands for many values, and a service may be extended by many.
"""

from __future__ import annotations

from stromboli.compose.document.node import Node
from stromboli.compose.problem import Path, problem

MOST_VALUES = 200_000
MOST_BYTES = 2 * 1024 * 1024  # of all files together: parsing a megabyte may take a second


class Budget:
    """What is left of the values, and of the bytes. One for all files of a stack."""

    def __init__(self, values: int = MOST_VALUES, size: int = MOST_BYTES) -> None:
        self._most = self._left = values
        self._size = self._bytes = size

    def fits(self, data: bytes) -> str | None:
        """Count the bytes of one more file before it is parsed. What is wrong with it if they are too many."""
        self._bytes -= len(data)
        return None if self._bytes >= 0 else f"is one too many: all files together have at most {self._size} bytes"

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
