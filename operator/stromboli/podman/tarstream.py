"""One file out of a tar stream, piece by piece. `tarfile` would want a thread; a single entry does not."""

from __future__ import annotations

import tarfile
from collections.abc import AsyncGenerator, AsyncIterator

from stromboli.errors import PodmanError

_BLOCK = 512
_LONGEST_EXTENSION = 1024 * 1024  # a PAX header carries extended attributes; more than this is no header


async def first_file(chunks: AsyncIterator[bytes], path: str) -> AsyncGenerator[bytes, None]:
    """The content of the first entry, which has to be a regular file and whole; `path` is for the message.

    Raises PodmanError otherwise.
    """
    source = _Source(chunks, path)
    entry = await _entry(source)
    if not entry.isreg():
        raise PodmanError(f"{path} in the container is not a regular file")
    left = entry.size
    while left:
        piece = await source.some(left)
        left -= len(piece)
        yield piece


async def _entry(source: _Source) -> tarfile.TarInfo:
    """The header of the first entry proper, with the size that an extension before it may state."""
    size: int | None = None
    while True:
        entry = source.header(await source.exactly(_BLOCK))
        if entry.type not in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            entry.size = entry.size if size is None else size
            return entry
        if entry.size > _LONGEST_EXTENSION:
            raise source.broken("has an extension header of absurd size")
        data = await source.exactly(-(-entry.size // _BLOCK) * _BLOCK)
        if entry.type == tarfile.XHDTYPE:
            size = _stated_size(data[: entry.size])


def _stated_size(records: bytes) -> int | None:
    """`size` among PAX records (`LENGTH NAME=VALUE\\n`, POSIX pax, "extended header"): files of 8 GiB and more."""
    while records:
        length, _, _ = records.partition(b" ")
        if not length.isdigit() or not (count := int(length)):
            return None
        name, _, value = records[len(length) + 1 : count].partition(b"=")
        if name == b"size":
            return int(value)
        records = records[count:]
    return None


class _Source:
    """Chunks of any size → bytes by the number wanted."""

    def __init__(self, chunks: AsyncIterator[bytes], path: str) -> None:
        self._chunks = chunks
        self._path = path
        self._rest = b""

    async def some(self, most: int) -> bytes:
        """At least one byte, at most `most`."""
        rest = self._rest or await self._next()
        self._rest = rest[most:]
        return rest[:most]

    async def exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            data += await self.some(count - len(data))
        return data

    def header(self, block: bytes) -> tarfile.TarInfo:
        try:
            return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise self.broken("is no tar stream") from error

    def broken(self, how: str) -> PodmanError:
        return PodmanError(f"what Podman sent for {self._path} {how}")

    async def _next(self) -> bytes:
        async for chunk in self._chunks:
            if chunk:
                return chunk
        raise self.broken("ended early")
