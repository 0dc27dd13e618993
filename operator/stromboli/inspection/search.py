"""Where a glibc loader would find a library in an image, and whether that library fits.

The search order is: the directory of the loader itself, the directories that distributions compile into it (Debian's
multiarch ones, `lib64`, `lib`, each also under `/usr`), and the entries of `/etc/ld.so.cache`. `LD_LIBRARY_PATH` and
run paths are not searched, since the CLI uses neither.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from posixpath import basename, dirname

from stromboli import elf
from stromboli.errors import InvalidElf
from stromboli.inspection.opener import Found, Opener

LIBRARY_LIMIT = 32 * 1024 * 1024
_CACHE_LIMIT = 8 * 1024 * 1024
# A real cache has a few thousand entries, one or two per name. In a hostile one, each may be as long as a path, even if
# all are the same, and causes a lookup in the image.
_MOST_ENTRIES = 20_000
_MOST_OF_A_NAME = 16
_MULTIARCH = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}

# glibc, sysdeps/generic/dl-cache.h: a cache_file_new, followed by file_entry_new records.
_CACHE_MAGIC = b"glibc-ld.so.cache1.1"
_CACHE_HEADER = struct.Struct("<20sIIB3xI12x")
_CACHE_ENTRY = struct.Struct("<iIIIQ")


@dataclass(frozen=True, slots=True)
class Library:
    """A library that the loader would load."""

    path: str
    elf: elf.Elf


async def read_elf(opener: Opener, path: str) -> tuple[Found, bytes, elf.Elf] | None:
    """The ELF file at a path, read up to LIBRARY_LIMIT bytes; None if there is none."""
    found = await opener.stat(path)
    if found is None or not found.regular:
        return None
    data = await opener.read(found.path, LIBRARY_LIMIT)
    if data is None:
        return None
    try:
        return found, data, elf.parse(data)
    except InvalidElf:
        return None


class Search:
    """The libraries that one loader of one image would find, for one architecture."""

    def __init__(self, opener: Opener, architecture: str, loader: str) -> None:
        self._opener = opener
        self._architecture = architecture
        self._directories = tuple(_directories(architecture, loader))
        self._cache: bytes | None = None

    async def library(self, name: str) -> Library | None:
        """The first file of that name that is a library for this architecture, as the loader picks it."""
        for directory in self._directories:
            if library := await self._at(f"{directory}/{name}"):
                return library
        for path in await self._cached(name):
            if library := await self._at(path):
                return library
        return None

    async def _at(self, path: str) -> Library | None:
        read = await read_elf(self._opener, path)
        if read and read[2].architecture == self._architecture:
            return Library(read[0].path, read[2])
        return None

    async def _cached(self, name: str) -> list[str]:
        if self._cache is None:
            found = await self._opener.stat("/etc/ld.so.cache")
            data = await self._opener.read(found.path, _CACHE_LIMIT) if found and found.regular else None
            self._cache = data or b""
        paths = (path for key, path in _cache_entries(self._cache) if key == name)
        return list(itertools.islice(paths, _MOST_OF_A_NAME))


def _directories(architecture: str, loader: str) -> Iterator[str]:
    multiarch = _MULTIARCH.get(architecture)
    usual = [f"/lib/{multiarch}", f"/usr/lib/{multiarch}"] if multiarch else []
    yield from dict.fromkeys([dirname(loader), *usual, "/lib64", "/usr/lib64", "/lib", "/usr/lib"])


def _cache_entries(data: bytes) -> Iterator[tuple[str, str]]:
    """(name, path) of each entry. Yields nothing if this is no cache, and skips entries that point outside the file."""
    start = data.find(_CACHE_MAGIC)  # a section in an older format may precede it
    if start < 0 or len(data) < start + _CACHE_HEADER.size:
        return
    data = data[start:]
    count = _CACHE_HEADER.unpack_from(data)[1]
    for n in range(min(count, _MOST_ENTRIES, (len(data) - _CACHE_HEADER.size) // _CACHE_ENTRY.size)):
        _, key, value, _, _ = _CACHE_ENTRY.unpack_from(data, _CACHE_HEADER.size + n * _CACHE_ENTRY.size)
        path = _text(data, value)
        if path.startswith("/") and basename(path):
            yield _text(data, key), path


def _text(data: bytes, offset: int) -> str:
    end = data.find(b"\0", offset, offset + 4096)
    return data[offset : max(end, offset)].decode("utf-8", "backslashreplace")
