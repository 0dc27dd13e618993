"""A folder of a container, walked in the archive API's tar stream: for one file whose place is not known, or for all.

The archive API has no list of names and takes no patterns (seen on 4.3.1). Where the path is known, use `archive`.
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
        """The first regular file below `folder` whose name is `wanted`, or None.

        Raises NotFound where the folder (or the container) is not there, PodmanError where the file is not among the
        first `most` bytes of what there is.
        """
        async with self._walk(container, folder, wanted, most) as found:
            yield await anext(found, None)

    @asynccontextmanager
    async def files(self, container: str, folder: str, most: int) -> AsyncIterator[AsyncIterator[FoundFile]]:
        """All regular files below `folder`, each to be read before the next. Raises as `find` does."""
        async with self._walk(container, folder, lambda _: True, most) as found:
            yield found

    @asynccontextmanager
    async def _walk(
        self, container: str, folder: str, wanted: Callable[[str], bool], most: int
    ) -> AsyncIterator[AsyncIterator[FoundFile]]:
        url = f"/containers/{segment(container)}/archive"
        async with (
            self._connection.stream("GET", url, params={"path": folder}, silence=ANSWER) as response,
            aclosing(find_file(response.aiter_raw(), folder, wanted, most)) as found,
        ):
            yield found
