"""The headers in rpm's own database format: a table of slots, each of which says where a blob is. All little-endian.

In rpm's source: lib/backend/ndb/rpmpkg.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from stromboli.errors import InvalidDatabase
from stromboli.inspection.contents.rpm.header import PREFIX
from stromboli.inspection.openfile import OpenFile

MAGIC = b"RpmP"
_HEADER = struct.Struct("<4sIIII12x")  # magic, version, generation, pages of slots, next package
_SLOT = struct.Struct("<4sIII")  # magic, package, first block, blocks
_BLOB = struct.Struct("<4sIII")  # magic, package, time, length
_SLOT_MAGIC, _BLOB_MAGIC = b"Slot", b"BlbS"
_PAGE = 4096
_BLOCK = 16
_MOST_PAGES = 1_000  # of slots: room for 256,000 packages


def headers(file: OpenFile) -> Iterator[bytes]:
    """The beginning of each blob."""
    magic, version, _, pages, _ = _HEADER.unpack(file.at(0, _HEADER.size))
    if (magic, version) != (MAGIC, 0) or pages > _MOST_PAGES:
        raise InvalidDatabase("it is no package database of rpm's own format, version 0")
    for number in range(pages):
        page = file.at(number * _PAGE, _PAGE)
        for magic, package, block, _ in _SLOT.iter_unpack(page if number else page[_HEADER.size :]):
            if magic != _SLOT_MAGIC:
                raise InvalidDatabase("a slot is broken")
            if block:
                yield _blob(file, package, block * _BLOCK)


def _blob(file: OpenFile, package: int, offset: int) -> bytes:
    magic, number, _, length = _BLOB.unpack(file.at(offset, _BLOB.size))
    if magic != _BLOB_MAGIC or number != package:
        raise InvalidDatabase("a slot leads to something else than its package")
    return file.at(offset + _BLOB.size, min(length, PREFIX))
