"""The header of an installed package: the one value that rpm's databases store, in each of their formats.

Two numbers (entries in the index, bytes of data), the index, and the data; all big-endian. An entry is a tag, a type,
an offset in the data, and a count. In rpm's source: `headerImport` in lib/header.
"""

from __future__ import annotations

import struct

from stromboli.errors import InvalidDatabase
from stromboli.plan.packages import Package

# Bytes of a header that are read. The index of a kernel's has 2 kB, and name and version are at the start of the data,
# which is in the order of the tags; the long lists of files come after them.
PREFIX = 32 * 1024
_MOST_ENTRIES = 500
_LONGEST = 256  # bytes of a name or version

_INTRO = struct.Struct(">II")
_ENTRY = struct.Struct(">IIiI")
_NAME, _VERSION = 1000, 1001
_STRING = 6


def package(prefix: bytes) -> Package | None:
    """The package of the header that begins so; None if it has no name or version within the prefix.

    Raises InvalidDatabase if this is no header.
    """
    if len(prefix) < _INTRO.size:
        raise InvalidDatabase("a package's header is cut off")
    entries, _ = _INTRO.unpack_from(prefix)
    if not 0 < entries <= _MOST_ENTRIES or _INTRO.size + entries * _ENTRY.size > len(prefix):
        raise InvalidDatabase("a package's header has an index of absurd size")
    data = _INTRO.size + entries * _ENTRY.size
    found: dict[int, str] = {}
    for tag, kind, offset, _ in _ENTRY.iter_unpack(prefix[_INTRO.size : data]):
        if tag in (_NAME, _VERSION) and kind == _STRING and 0 <= offset < len(prefix) - data:
            found.setdefault(tag, _string(prefix, data + offset))
        if len(found) == 2:
            break
    name, version = found.get(_NAME), found.get(_VERSION)
    return Package(name, version) if name and version else None


def _string(data: bytes, start: int) -> str:
    end = data.find(b"\0", start, start + _LONGEST + 1)
    return data[start:end].decode("utf-8", "replace") if end >= 0 else ""
