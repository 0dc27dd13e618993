"""A container's files, read through Podman's archive API, also while it was never started.

Podman resolves links inside the container's root and never outside it (tests/contract has relative, absolute,
dangling, circular and escaping ones). Only regular files are read: of anything else Podman sends no content.

Asked for a path's stat, Podman opens nothing. Asked for content, it first reads the root's own /etc/passwd, while it
holds the container's lock: of a root that anybody else has written, inspection/startfiles.py is asked before.
"""

from __future__ import annotations

import base64
import stat as modes
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from stromboli.errors import NotFound, PodmanError
from stromboli.podman.connection import ANSWER, Connection, segment
from stromboli.podman.failures import answer, reading, tells_of_a_circle
from stromboli.podman.tarstream import first_file

_STAT = "X-Docker-Container-Path-Stat"
# Go's fs.FileMode, which the header carries instead of st_mode.
_DIRECTORY, _LINK = 1 << 31, 1 << 27
_IRREGULAR = _DIRECTORY | _LINK | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19  # device, pipe, socket, …


@dataclass(frozen=True, slots=True)
class PathStat:
    """What stands at a path after all links; `path` is the one it was found at, `mode` has permission bits only."""

    path: str
    size: int
    mode: int
    regular: bool
    directory: bool

    @property
    def executable(self) -> bool:
        """Anybody at all may execute it."""
        return bool(self.mode & (modes.S_IXUSR | modes.S_IXGRP | modes.S_IXOTH))


class Archive:
    """The files of one Podman's containers."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def stat(self, container: str, path: str, mounts: Collection[str] = ()) -> PathStat | None:
        """What an absolute path leads to; None if nothing is there, as for a link that dangles or goes in circles.

        Links are resolved in the root, without what is mounted over it; a path that lies in a mount is looked up in
        that. So of a link into one of `mounts` nothing is told but where it leads: what is seen there is not what the
        root has. Raises NotFound where there is no such container.
        """
        found = await self._head(container, path)
        if found is not None and int(found["mode"]) & _LINK:
            # The header describes the link itself, and names where it ends, resolved.
            path = str(found["linkTarget"])
            if any(path == mount or path.startswith(f"{mount.rstrip('/')}/") for mount in mounts):
                return PathStat(path, size=0, mode=0, regular=False, directory=False)
            found = await self._head(container, path)
        with reading("a path"):
            return None if found is None else _stat(found, path)

    async def is_circle(self, container: str, path: str) -> bool:
        """Whether a path at which nothing is found is a circle of links."""
        try:
            async with self._connection.stream(
                "GET", f"/containers/{segment(container)}/archive", params={"path": path}, silence=ANSWER
            ):
                return False
        except NotFound as error:
            return tells_of_a_circle(error)

    async def read_file(self, container: str, path: str, limit: int) -> bytes:
        """The first `limit` bytes of a regular file. Raises NotFound (no such path), PodmanError (no file)."""
        data = bytearray()
        async with self._open(container, path) as chunks:
            async for chunk in chunks:
                data += chunk
                if len(data) >= limit:
                    break
        return bytes(data[:limit])

    async def download_file(self, container: str, path: str, destination: BinaryIO) -> int:
        """Write a regular file's content to `destination`, piece by piece; its size. Raises as `read_file`."""
        size = 0
        async with self._open(container, path) as chunks:
            async for chunk in chunks:
                size += destination.write(chunk)
        return size

    async def _head(self, container: str, path: str) -> Mapping[str, Any] | None:
        url = f"/containers/{segment(container)}/archive"
        try:
            response = await self._connection.request("HEAD", url, params={"path": path})
        except NotFound:
            # An answer to HEAD has no body: whether the path is missing or the container has to be asked.
            await self._connection.request("GET", f"/containers/{segment(container)}/exists")
            return None
        except PodmanError:
            await self._in_words(url, path)
            return None
        with reading("a path"):
            found: Mapping[str, Any] = answer(base64.b64decode(response.headers[_STAT]))
            return found

    async def _in_words(self, url: str, path: str) -> None:
        """Ask in a way that is answered in words: a circle of links is 500 like any mishap, which this raises."""
        try:
            async with self._connection.stream("GET", url, params={"path": path}):
                raise PodmanError(f"Podman refused HEAD {url} and not GET")
        except NotFound:
            return

    @asynccontextmanager
    async def _open(self, container: str, path: str) -> AsyncIterator[AsyncIterator[bytes]]:
        url = f"/containers/{segment(container)}/archive"
        async with (
            self._connection.stream("GET", url, params={"path": path}, silence=ANSWER) as response,
            aclosing(first_file(response.aiter_raw(), path)) as chunks,
        ):
            yield chunks


def _stat(found: Mapping[str, Any], path: str) -> PathStat:
    mode = int(found["mode"])
    return PathStat(
        path=path,
        size=int(found["size"]),
        mode=mode & 0o777,
        regular=not mode & _IRREGULAR,
        directory=bool(mode & _DIRECTORY),
    )
