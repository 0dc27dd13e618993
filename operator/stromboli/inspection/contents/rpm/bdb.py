"""The headers in a Berkeley DB hash, as rpm wrote it up to 4.16: pages, of which some hold pairs and most an overflow.

The pages are gone through one after the other instead of by their buckets: that finds the same pairs and cannot go in
circles. The layout is that of Berkeley DB's db_page.h; rpm's own reader of it is lib/backend/bdb_ro.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from stromboli.errors import InvalidDatabase
from stromboli.inspection.contents.rpm.header import PREFIX
from stromboli.inspection.openfile import OpenFile

MAGIC = 0x00061561  # of a hash, at _MAGIC_AT, in the byte order of the machine that wrote it
_MAGIC_AT = 12
_PAGE_SIZE_AT = 20
_PAGE_SIZES = frozenset(1 << n for n in range(9, 17))
_HEADER = 26  # bytes at the start of each page
_NEXT_AT, _ENTRIES_AT, _TYPE_AT = 16, 20, 25
_PAIRS = (2, 13)  # page types: a hash's pairs, unsorted and sorted
_OVERFLOW = 7
_INLINE, _ELSEWHERE = 1, 3  # kinds of items
_ITEM_ELSEWHERE = 12  # bytes: kind, padding, page, length
_MOST_PAGES = 400_000  # 1.6 GB with pages of 4 KiB; a database with smaller pages has as many at most


def order(start: bytes) -> str | None:
    """The byte order (as for `struct`) of a database that begins so; None if it is none."""
    return next((o for o in "<>" if start[_MAGIC_AT : _MAGIC_AT + 4] == struct.pack(f"{o}I", MAGIC)), None)


def headers(file: OpenFile) -> Iterator[bytes]:
    """The beginning of each value, empty for one of an unknown kind. One is no header, but a package's number."""
    start = file.at(0, 512)
    if (byte_order := order(start)) is None:
        raise InvalidDatabase("it is no Berkeley DB hash")
    (page_size,) = struct.unpack_from(f"{byte_order}I", start, _PAGE_SIZE_AT)
    if page_size not in _PAGE_SIZES:
        raise InvalidDatabase("its pages have an absurd size")
    pages = _Pages(file, page_size, byte_order)
    for number in range(1, min(file.size // page_size, _MOST_PAGES)):
        if pages.kind(number) in _PAIRS:
            yield from pages.values(number)


class _Pages:
    def __init__(self, file: OpenFile, size: int, byte_order: str) -> None:
        self._file = file
        self._size = size
        self._short = struct.Struct(f"{byte_order}H")
        self._long = struct.Struct(f"{byte_order}I")
        self._order = byte_order

    def kind(self, number: int) -> int:
        return self._file.at(number * self._size + _TYPE_AT, 1)[0]

    def values(self, number: int) -> Iterator[bytes]:
        """The values of the pairs on a page, which is filled in from its end: a key, its value, the next key."""
        page = self._file.at(number * self._size, self._size)
        (count,) = self._short.unpack_from(page, _ENTRIES_AT)
        if _HEADER + 2 * count > self._size:
            raise InvalidDatabase("a page has more items than fit on it")
        offsets = struct.unpack_from(f"{self._order}{count}H", page, _HEADER)
        for key, value in zip(offsets[::2], offsets[1::2], strict=False):
            if not _HEADER <= value < key <= self._size:
                raise InvalidDatabase("an item lies outside its page")
            yield self._value(page[value:key])

    def _value(self, item: bytes) -> bytes:
        if item[0] == _INLINE:
            return item[1:]
        if item[0] == _ELSEWHERE and len(item) == _ITEM_ELSEWHERE:
            (page,), (length,) = self._long.unpack_from(item, 4), self._long.unpack_from(item, 8)
            return self._overflow(page, min(length, PREFIX))
        return b""

    def _overflow(self, number: int, wanted: int) -> bytes:
        """The first `wanted` bytes of a chain of pages. All but its last are full, so it is soon at its end."""
        data = bytearray()
        while len(data) < wanted:
            page = self._file.at(number * self._size, self._size)
            (length,) = self._short.unpack_from(page, _ENTRIES_AT + 2)
            full = self._size - _HEADER
            if page[_TYPE_AT] != _OVERFLOW or length > full or length < min(full, wanted - len(data)):
                raise InvalidDatabase("a chain of pages is broken")
            data += page[_HEADER : _HEADER + length]
            (number,) = self._long.unpack_from(page, _NEXT_AT)
        return bytes(data[:wanted])
