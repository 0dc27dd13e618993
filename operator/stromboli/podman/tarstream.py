"""Extracts files from a tar stream asynchronously, in chunks. `tarfile` itself would need a thread."""

from __future__ import annotations

import tarfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from stromboli.errors import NotRegular, PodmanError, TooLarge

_BLOCK = 512
_LONGEST_EXTENSION = 1024 * 1024  # bytes; a PAX header carries extended attributes, and none needs more than this
_EXTENSIONS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A regular file; `name` begins with the folder's own name. `content` can be read once, or skipped."""

    name: str
    size: int
    content: AsyncIterator[bytes]
    executable: bool = False


async def first_file(chunks: AsyncIterator[bytes], path: str) -> AsyncGenerator[bytes, None]:
    """The content of the first entry. `path` is used in error messages.

    Raises NotRegular if the entry is not a regular file, and PodmanError if it is incomplete.
    """
    source = _Source(chunks, path)
    entry = await _entry(source)
    if entry is None:
        raise source.broken("is not a tar stream")
    if not entry.isreg():
        raise NotRegular(f"{path} in the container is not a regular file")
    async with aclosing(source.pieces(entry.size)) as pieces:
        async for piece in pieces:
            yield piece


async def find_file(
    chunks: AsyncIterator[bytes], folder: str, wanted: Callable[[str], bool], most: int
) -> AsyncGenerator[FoundFile, None]:
    """The regular files whose name satisfies `wanted`, one after the other; unread content is skipped.

    Raises PodmanError if the stream is broken, and TooLarge if more than `most` bytes of it had to be read.
    """
    source = _Source(chunks, folder, most)
    while (entry := await _entry(source)) is not None:
        end = source.taken + _padded(entry.size)
        if entry.isreg() and wanted(entry.name):
            yield FoundFile(entry.name, entry.size, source.pieces(entry.size), bool(entry.mode & 0o111))
        async for _ in source.pieces(end - source.taken):
            pass


async def folder(chunks: AsyncIterator[bytes], path: str, limit: int, most: int) -> dict[str, bytes | None]:
    """What is directly in a folder, by name: at most `limit` bytes of each regular file, None for anything else.

    Empty if the stream is that of something else than a folder. Raises as `find_file` does.
    """
    source = _Source(chunks, path, most)
    top = await _entry(source)
    if top is None or not top.isdir():
        return {}
    found: dict[str, bytes | None] = {}
    while (entry := await _entry(source)) is not None:
        end = source.taken + _padded(entry.size)
        _, _, name = entry.name.strip("/").partition("/")
        if name and "/" not in name:
            found[name] = await source.exactly(min(limit, entry.size)) if entry.isreg() else None
        async for _ in source.pieces(end - source.taken):
            pass
    return found


async def _entry(source: _Source) -> tarfile.TarInfo | None:
    """The header of the next real entry, with name and size from a preceding extension header if there is one; None at
    the end of the archive.
    """
    records: dict[str, str] = {}
    while (block := await source.exactly(_BLOCK)) != bytes(_BLOCK):
        entry = source.header(block)
        if entry.type not in _EXTENSIONS:
            entry.name = records.get("path", entry.name)
            if (size := records.get("size", "")).isdigit():
                entry.size = int(size)
            return entry
        if entry.size > _LONGEST_EXTENSION:
            raise source.broken("has an extension header of absurd size")
        data = await source.exactly(_padded(entry.size))
        if entry.type == tarfile.XHDTYPE:
            records = _records(data[: entry.size])
    return None


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _records(data: bytes) -> dict[str, str]:
    """PAX records: `LENGTH NAME=VALUE\\n`, where LENGTH counts the whole record (POSIX pax, "extended header")."""
    found = {}
    while data:
        length, _, _ = data.partition(b" ")
        if not length.isdigit() or not (count := int(length)):
            break
        name, _, value = data[len(length) + 1 : count - 1].partition(b"=")
        found[name.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        data = data[count:]
    return found


class _Source:
    """Reads exact byte counts from chunks of any size. `path` is used in error messages; `taken` counts the bytes read,
    at most `most`.
    """

    def __init__(self, chunks: AsyncIterator[bytes], path: str, most: int | None = None) -> None:
        self._chunks = chunks
        self._path = path
        self._most = most
        self._rest = b""
        self.taken = 0

    async def exactly(self, count: int) -> bytes:
        return b"".join([piece async for piece in self.pieces(count)])

    async def pieces(self, count: int) -> AsyncGenerator[bytes, None]:
        """The next `count` bytes, in chunks as they arrive."""
        while count > 0:
            if not self._rest:
                self._rest = await self._next()
            piece, self._rest = self._rest[:count], self._rest[count:]
            count -= len(piece)
            self.taken += len(piece)
            if self._most is not None and self.taken > self._most:
                raise TooLarge(f"{self._path} in the container is larger than {self._most >> 20} MiB")
            yield piece

    def header(self, block: bytes) -> tarfile.TarInfo:
        try:
            entry = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise self.broken("is not a tar stream") from error
        if entry.size < 0:
            raise self.broken("has an entry of absurd size")
        return entry

    def broken(self, how: str) -> PodmanError:
        return PodmanError(f"what Podman sent for {self._path} {how}")

    async def _next(self) -> bytes:
        async for chunk in self._chunks:
            if chunk:
                return chunk
        raise self.broken("ended early")
