"""The result of a benchmark: tables for people, data for the results file, and the goals with their verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.benchmarks.numbers import Goal


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of equal length, the first being the header. The first column is text, the others are numbers."""

    title: str
    rows: Sequence[Sequence[str]]

    def lines(self) -> list[str]:
        """The table as aligned lines."""
        widths = [max(len(row[n]) for row in self.rows) for n in range(len(self.rows[0]))]
        return [self.title, *(f"  {_line(row, widths)}" for row in self.rows)]


@dataclass(frozen=True, slots=True)
class Result:
    """One benchmark's outcome. `data` is JSON."""

    name: str
    tables: Sequence[Table]
    goals: Sequence[Goal]
    data: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "goals": [goal.as_dict() for goal in self.goals],
            "data": self.data,
            "text": [line for table in self.tables for line in ["", *table.lines()]],
        }


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(row, widths, strict=True)
    return "  ".join([f"{first[0]:<{first[1]}}", *(f"{cell:>{width}}" for cell, width in others)]).rstrip()
