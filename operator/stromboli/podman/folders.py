"""Walks a folder of a container through the archive API's tar stream: to find one file, or to read all.

The archive API can neither list names nor match patterns (seen on 4.3.1). If the path is known, use `archive`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

from stromboli.podman.connection import ANSWER, Connection, segment
from stromboli.podman.tarstream import FoundFile, find_file


class Folders:
    """The folders of one Podman's containers."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @asynccontextmanager
    async def find(
        self, container: str, folder: str, wanted: Callable[[str], bool], most: int
    ) -> AsyncIterator[FoundFile | None]:
        """The first regular file below `folder` whose name satisfies `wanted`, or None.

        Raises NotFound if there is no such folder or container, and PodmanError if the file is not within the first
        `most` bytes of the stream.
        """
        async with self._walk(container, folder, wanted, most) as found:
            yield await anext(found, None)

    @asynccontextmanager
    async def files(self, container: str, folder: str, most: int) -> AsyncIterator[AsyncIterator[FoundFile]]:
        """All regular files below `folder`; read each before asking for the next. Raises as `find` does."""
        async with self._walk(container, folder, lambda _: True, most) as found:
            yield found

    @asynccontextmanager
    async def _walk(
        self, container: str, folder: str, wanted: Callable[[str], bool], most: int
    ) -> AsyncIterator[AsyncIterator[FoundFile]]:
        url = f"/containers/{segment(container)}/archive"
        async with (
            self._connection.stream("GET", url, params={"path": folder}, silence=ANSWER) as response,
            aclosing(find_file(response.chunks, folder, wanted, most)) as found,
        ):
            yield found
