"""Decodes lists in the form of tables, which the API server makes of any kind: metadata and columns, no specs. Pure.

A run's spec may have a prompt of a megabyte; of a row, next to nothing is kept here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

ACCEPT = "application/json;as=Table;v=v1;g=meta.k8s.io"


@dataclass(frozen=True, slots=True)
class Row:
    """One object: its name, when it was created, in API form, and those of its columns that were asked for."""

    name: str
    created: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list; `following` is the token for the next page, empty on the last."""

    rows: list[Row]
    following: str


class _Meta(msgspec.Struct, rename="camel"):
    name: str
    creation_timestamp: str = ""


class _Object(msgspec.Struct):
    metadata: _Meta


class _Row(msgspec.Struct):
    cells: list[Any]
    object: _Object


class _Column(msgspec.Struct):
    name: str


class _ListMeta(msgspec.Struct, rename={"following": "continue"}):
    following: str = ""


class _Table(msgspec.Struct, rename="camel"):
    metadata: _ListMeta
    column_definitions: list[_Column] = msgspec.field(default_factory=list)
    rows: list[_Row] | None = None  # null where there are none


def page(content: bytes, *columns: str) -> Page:
    """The rows of a page, with these columns; one that is empty, or is not there, is an empty text. Raises ValueError
    for anything but a table.
    """
    found = msgspec.json.decode(content, type=_Table)
    names = [column.name for column in found.column_definitions]
    at = [names.index(column) if column in names else -1 for column in columns]
    rows = [
        Row(row.object.metadata.name, row.object.metadata.creation_timestamp, _cells(row, at))
        for row in found.rows or ()
    ]
    return Page(rows, found.metadata.following)


def _cells(row: _Row, at: list[int]) -> tuple[str, ...]:
    return tuple(str(row.cells[n]) if 0 <= n < len(row.cells) and row.cells[n] is not None else "" for n in at)
