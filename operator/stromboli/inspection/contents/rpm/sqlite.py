"""The headers in an SQLite database: the column `blob` of the table `Packages`, whose rows are a b-tree of pages.

SQLite itself is not used: it is a large C library, and the file is whoever built the image's. What is needed of its
format (https://www.sqlite.org/fileformat2.html) is small: the pages of one table in the order of its rows, and of each
row the beginning. A write-ahead log beside the file is not read; rpm leaves none behind.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from stromboli.errors import InvalidDatabase
from stromboli.inspection.contents.rpm.header import PREFIX
from stromboli.inspection.openfile import OpenFile

MAGIC = b"SQLite format 3\0"
_TABLE = "Packages"
_FILE_HEADER = 100  # bytes, at the start of the first page
_INTERIOR, _LEAF = 0x05, 0x0D  # page types of a table
_MOST_CHILDREN = 100_000  # of all pages of one table
_MOST_TABLES = 1_000
_MOST_COLUMNS = 16
_WIDTHS = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)  # bytes, by serial type; from 12 on it is a blob if even, else text


def headers(file: OpenFile) -> Iterator[bytes]:
    """The beginning of each row's blob; empty for a row without one."""
    database = _Database(file)
    root = database.root_of(_TABLE)
    for row in database.rows(root):
        columns = _columns(row)
        yield columns[1] if len(columns) > 1 else b""


class _Database:
    def __init__(self, file: OpenFile) -> None:
        self._file = file
        start = file.at(0, _FILE_HEADER)
        (size,) = struct.unpack_from(">H", start, 16)
        self._size = 65536 if size == 1 else size
        self._usable = self._size - start[20]
        if not start.startswith(MAGIC) or self._size < 512 or self._size & (self._size - 1) or self._usable < 480:
            raise InvalidDatabase("it is no SQLite database")

    def root_of(self, table: str) -> int:
        """The first page of a table, by the schema, whose own table begins on page 1."""
        for count, row in enumerate(self.rows(1)):
            kind, name, _, root = (_columns(row) + [b""] * 4)[:4]
            if (kind, name) == (b"table", table.encode()) and 0 < len(root) <= 8:
                return int.from_bytes(root, "big")
            if count == _MOST_TABLES:
                break
        raise InvalidDatabase(f"it has no table {table}")

    def rows(self, root: int) -> Iterator[bytes]:
        """The beginning of each row of the table. A page is gone through once, so a tree that is none ends too."""
        waiting, seen, all_children = [root], {root}, 0
        while waiting:
            number = waiting.pop()
            page = self._page(number)
            start = _FILE_HEADER if number == 1 else 0
            kind, count = page[start], int.from_bytes(page[start + 3 : start + 5], "big")
            if kind not in (_INTERIOR, _LEAF):
                raise InvalidDatabase("a page of a table is something else")
            pointers = start + (12 if kind == _INTERIOR else 8)
            if pointers + 2 * count > self._usable:
                raise InvalidDatabase("a page has more cells than fit on it")
            cells = struct.unpack_from(f">{count}H", page, pointers)
            if kind == _LEAF:
                for cell in cells:
                    yield self._row(page, cell)
                continue
            children = [int.from_bytes(page[cell : cell + 4], "big") for cell in cells]
            children.append(int.from_bytes(page[start + 8 : start + 12], "big"))
            all_children += len(children)
            if all_children > _MOST_CHILDREN:
                raise InvalidDatabase("a table has too many pages")
            for child in reversed(children):
                if child not in seen:
                    seen.add(child)
                    waiting.append(child)

    def _page(self, number: int) -> bytes:
        return self._file.at((number - 1) * self._size, self._size)

    def _row(self, page: bytes, cell: int) -> bytes:
        """The first bytes of a row: those on the page, then those on the pages that it overflows to."""
        length, at = _varint(page, cell)
        _, at = _varint(page, at)
        local = self._local(length)
        if at + local > self._usable:
            raise InvalidDatabase("a row lies outside its page")
        data = bytearray(page[at : at + local])
        wanted = min(length, PREFIX)
        following = int.from_bytes(page[at + local : at + local + 4], "big")
        while len(data) < wanted:
            more = self._page(following)
            data += more[4 : self._usable]
            following = int.from_bytes(more[:4], "big")
        return bytes(data[:wanted])

    def _local(self, length: int) -> int:
        """How many bytes of a row of that length are on its page ("Cell payload overflow pages")."""
        most = self._usable - 35
        if length <= most:
            return length
        least = (self._usable - 12) * 32 // 255 - 23
        local = least + (length - least) % (self._usable - 4)
        return local if local <= most else least


def _columns(row: bytes) -> list[bytes]:
    """The columns of a record, as their bytes; one that is beyond the row's beginning is cut off."""
    size, at = _varint(row, 0)
    if size > len(row):
        raise InvalidDatabase("a row's header is longer than the row")
    columns: list[bytes] = []
    start = size
    while at < size and len(columns) < _MOST_COLUMNS:
        serial, at = _varint(row, at)
        width = _WIDTHS[serial] if serial < len(_WIDTHS) else (serial - 12) // 2 if serial >= 12 else 0
        columns.append(b"\x01" if serial == 9 else row[start : start + width])
        start += width
    return columns


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, and where it ends."""
    value = 0
    for count, byte in enumerate(data[at : at + 9]):
        if count == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + count + 1
    raise InvalidDatabase("a number is cut off")
