"""How the command line prints tables. No text of others steers a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from stromboli import visible


def line(value: object) -> str:
    """A value on one line."""
    return visible.text(" ".join(str(value).split()))


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns that are as wide as they have to be; the first row is the head."""
    cells = [[line(cell) for cell in row] for row in rows]
    widths = [max(len(row[n]) for row in cells) for n in range(len(cells[0]))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )
