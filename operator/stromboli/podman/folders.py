"""A folder of a container, walked in the archive API's tar stream for one file whose place is not known beforehand.

The archive API has no list of names and takes no patterns (seen on 4.3.1). Where the path is known, use `archive`.
"""

from __future__ import annotations

import tarfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from stromboli.errors import PodmanError
from stromboli.podman.connection import ANSWER, Connection, segment

_BLOCK = 512
_LONGEST_EXTENSION = 1024 * 1024  # a PAX header carries extended attributes; more than this is no header


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A regular file; `name` begins with the folder's own. `content` can be read once, or left."""

    name: str
    size: int
    content: AsyncIterator[bytes]


class Folders:
    """The folders of one Podman's containers."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @asynccontextmanager
    async def find(
        self, container: str, folder: str, wanted: Callable[[str], bool], most: int
    ) -> AsyncIterator[FoundFile | None]:
        """The first regular file below `folder` whose name is `wanted`, or None.

        Raises NotFound where the folder (or the container) is not there, PodmanError where the file is not among the
        first `most` bytes of what there is.
        """
        url = f"/containers/{segment(container)}/archive"
        async with (
            self._connection.stream("GET", url, params={"path": folder}, silence=ANSWER) as response,
            aclosing(find_file(response.aiter_raw(), folder, wanted, most)) as found,
        ):
            yield await anext(found, None)


async def find_file(
    chunks: AsyncIterator[bytes], folder: str, wanted: Callable[[str], bool], most: int
) -> AsyncGenerator[FoundFile, None]:
    """The wanted files of a tar stream, one after the other; each has to be read before the next is asked for."""
    source = _Source(chunks, folder, most)
    records: dict[str, str] = {}
    while (block := await source.exactly(_BLOCK)) != bytes(_BLOCK):
        entry = source.header(block)
        if entry.type == tarfile.XHDTYPE:
            if entry.size > _LONGEST_EXTENSION:
                raise source.broken("has an extension header of absurd size")
            records = _records((await source.exactly(_padded(entry.size)))[: entry.size])
            continue
        name, size = records.get("path", entry.name), _size(records.get("size"), entry.size)
        records = {}
        end = source.taken + _padded(size)
        if entry.isreg() and wanted(name):
            yield FoundFile(name, size, source.pieces(size))
        async for _ in source.pieces(end - source.taken):
            pass


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _size(stated: str | None, otherwise: int) -> int:
    return int(stated) if stated is not None and stated.isdigit() else otherwise


def _records(data: bytes) -> dict[str, str]:
    """PAX records: `LENGTH NAME=VALUE\\n`, the length with all of itself (POSIX pax, "extended header")."""
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
    """Chunks of any size → bytes by the number wanted. `taken` counts what was handed out."""

    def __init__(self, chunks: AsyncIterator[bytes], folder: str, most: int) -> None:
        self._chunks = chunks
        self._folder = folder
        self._most = most
        self._rest = b""
        self.taken = 0

    async def exactly(self, count: int) -> bytes:
        return b"".join([piece async for piece in self.pieces(count)])

    async def pieces(self, count: int) -> AsyncIterator[bytes]:
        """`count` bytes, as they come."""
        while count > 0:
            if not self._rest:
                self._rest = await self._next()
            piece, self._rest = self._rest[:count], self._rest[count:]
            count -= len(piece)
            self.taken += len(piece)
            if self.taken > self._most:
                raise PodmanError(f"{self._folder} in the container has more than {self._most >> 20} MiB in it")
            yield piece

    def header(self, block: bytes) -> tarfile.TarInfo:
        try:
            entry = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise self.broken("is no tar stream") from error
        if entry.size < 0:
            raise self.broken("has an entry of absurd size")
        return entry

    def broken(self, how: str) -> PodmanError:
        return PodmanError(f"what Podman sent for {self._folder} {how}")

    async def _next(self) -> bytes:
        async for chunk in self._chunks:
            if chunk:
                return chunk
        raise self.broken("ended early")
