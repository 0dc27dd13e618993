"""rpm's package databases in their three formats, written byte by byte (SQLite's by SQLite itself).

The layouts follow the sources named in `stromboli/inspection/contents/rpm/`. Each was read by rpm's own code, too, and
databases that rpm and Berkeley DB wrote were read by ours.
"""

from __future__ import annotations

import sqlite3
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

PAGE = 4096
_PAGE_HEADER = 26


def header(name: str, version: str, *, padding: int = 6000) -> bytes:
    """A package's header: name, version, release and epoch, then `padding` bytes of a list of files, all one region."""
    entries = (
        (1000, 6, name.encode() + b"\0"),
        (1001, 6, version.encode() + b"\0"),
        (1002, 6, b"7.el9\0"),
        (1003, 4, struct.pack(">I", 1)),
        (1117, 8, b"f" * padding + b"\0"),
    )
    index, data = b"", b""
    for tag, kind, value in entries:
        if kind == 4:
            data += b"\0" * (-len(data) % 4)
        index += struct.pack(">IIII", tag, kind, len(data), 1)
        data += value
    region = struct.pack(">IIII", 63, 7, len(data), 16)
    trailer = struct.pack(">IIiI", 63, 7, -16 * (len(entries) + 1), 16)
    return struct.pack(">II", len(entries) + 1, len(data) + 16) + region + index + data + trailer


def bdb(headers: Sequence[bytes], *, order: str = "<") -> bytes:
    """A Berkeley DB hash of one bucket: its chain of pages, then the overflow pages of the values."""
    pairs = [(struct.pack(f"{order}I", 0), struct.pack(f"{order}I", len(headers)))]
    pairs += [(struct.pack(f"{order}I", n), value) for n, value in enumerate(headers, 1)]
    on_a_page = 40
    groups = [pairs[start : start + on_a_page] for start in range(0, len(pairs), on_a_page)]
    overflow: list[bytes] = []
    pages = []
    for place, group in enumerate(groups, 1):
        items: list[bytes] = []
        for key, value in group:
            items.append(b"\x01" + key)
            if len(value) < 64:
                items.append(b"\x01" + value)
            else:
                first = 1 + len(groups) + len(overflow)
                items.append(struct.pack(f"{order}B3xII", 3, first, len(value)))
                overflow += _chain(value, first, order)
        following = place + 1 if place < len(groups) else 0
        pages.append(_bdb_page(place, following, items, order))
    last = len(pages) + len(overflow)
    meta = struct.pack(f"{order}QIIIIBBBBII", 0, 0, 0x61561, 9, PAGE, 0, 8, 0, 0, 0, last)
    buckets = struct.pack(f"{order}IIIIII", 0, 1, 0, 0, len(pairs), 0) + struct.pack(f"{order}32I", *[1] * 32)
    return (meta.ljust(72, b"\0") + buckets).ljust(PAGE, b"\0") + b"".join(pages) + b"".join(overflow)


def _bdb_page(number: int, following: int, items: Sequence[bytes], order: str) -> bytes:
    end, offsets, content = PAGE, [], b""
    for item in items:
        end -= len(item)
        offsets.append(end)
        content = item + content
    start = struct.pack(f"{order}QIIIHHBB", 0, number, 0, following, len(items), end, 0, 13)
    start += struct.pack(f"{order}{len(items)}H", *offsets)
    return start + b"\0" * (end - len(start)) + content


def _chain(value: bytes, first: int, order: str) -> list[bytes]:
    pieces = [value[at : at + PAGE - _PAGE_HEADER] for at in range(0, len(value), PAGE - _PAGE_HEADER)]
    return [
        (
            struct.pack(
                f"{order}QIIIHHBB", 0, first + n, 0, first + n + 1 if n + 1 < len(pieces) else 0, 1, len(piece), 0, 7
            )
            + piece
        ).ljust(PAGE, b"\0")
        for n, piece in enumerate(pieces)
    ]


def ndb(headers: Sequence[bytes]) -> bytes:
    """rpm's own format: slots, then blobs in blocks of 16 bytes."""
    pages = 1 + (len(headers) + 2) // 256
    slots, blobs = b"", b""
    for number, value in enumerate(headers, 1):
        blob = struct.pack("<4sIII", b"BlbS", number, 1_700_000_000, len(value)) + value
        blob += b"\0" * (-(len(blob) + 12) % 16)
        blob += struct.pack("<II4s", zlib.adler32(blob), len(value), b"BlbE")
        slots += struct.pack("<4sIII", b"Slot", number, (pages * 4096 + len(blobs)) // 16, len(blob) // 16)
        blobs += blob
    table = struct.pack("<4sIIII12x", b"RpmP", 0, 1, pages, len(headers) + 1) + slots
    table += struct.pack("<4sIII", b"Slot", 0, 0, 0) * ((pages * 4096 - len(table)) // 16)
    return table + blobs


def sqlite(path: Path, headers: Sequence[bytes]) -> bytes:
    """SQLite's, with the tables that rpm makes before and after the packages; `path` is a scratch file."""
    path.unlink(missing_ok=True)
    database = sqlite3.connect(path)
    try:
        database.execute("CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
        database.execute("CREATE TABLE 'Name' (key 'TEXT' NOT NULL, hnum INTEGER NOT NULL, idx INTEGER NOT NULL)")
        database.execute("CREATE INDEX 'Name_key_idx' ON 'Name'(key ASC)")
        database.executemany("INSERT INTO Packages (blob) VALUES (?)", [(value,) for value in headers])
        database.commit()
    finally:
        database.close()
    return path.read_bytes()
