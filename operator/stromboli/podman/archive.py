"""A container's files, read through Podman's archive API; the container need not have been started.

Podman resolves symlinks inside the container's root and never outside it (tests/contract covers relative, absolute,
dangling, circular and escaping ones). Only regular files are read: Podman sends no content for anything else.

For a stat, Podman opens nothing. For content, and to make a folder, it first reads the root's own /etc/passwd while
holding the container's lock. So before either in a root that is not trusted, call inspection/startfiles.py.
"""

from __future__ import annotations

import base64
import io
import posixpath
import stat as modes
import tarfile
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

from stromboli.errors import NotFound, PodmanError
from stromboli.podman.connection import ANSWER, Connection, segment
from stromboli.podman.failures import answer, is_symlink_loop, reading
from stromboli.podman.tarstream import first_file, folder

_STAT = "X-Docker-Container-Path-Stat"
# Bits of Go's fs.FileMode, which the header carries instead of st_mode.
_DIRECTORY, _LINK = 1 << 31, 1 << 27
_IRREGULAR = _DIRECTORY | _LINK | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19  # device, pipe, socket, …


@dataclass(frozen=True, slots=True)
class PathStat:
    """What a path resolves to. `path` is the resolved path; `mode` has the permission bits only."""

    path: str
    size: int
    mode: int
    regular: bool
    directory: bool

    @property
    def executable(self) -> bool:
        """Whether any of the three execute bits is set."""
        return bool(self.mode & (modes.S_IXUSR | modes.S_IXGRP | modes.S_IXOTH))


@dataclass(frozen=True, slots=True)
class _Header:
    """What the header of a response says of a path: Go's mode, the size, and where it leads if it is a symlink."""

    mode: int
    size: int
    target: str


class Archive:
    """The files of one Podman's containers."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def stat(self, container: str, path: str, mounts: Collection[str] = ()) -> PathStat | None:
        """Stat what an absolute path resolves to; None if nothing is there, or for a dangling or circular symlink.

        Podman resolves symlinks in the bare root, without the mounts over it, but looks up a path below a mount in
        that mount. So for a symlink into one of `mounts`, only the resolved path is returned, as neither file nor
        directory: what Podman sees there is not what the root has. Raises NotFound if there is no such container.
        """
        found = await self._head(container, path)
        if found is not None and found.mode & _LINK:
            # The header describes the symlink itself and gives its fully resolved target.
            path = found.target
            if any(path == mount or path.startswith(f"{mount.rstrip('/')}/") for mount in mounts):
                return PathStat(path, size=0, mode=0, regular=False, directory=False)
            found = await self._head(container, path)
        return None if found is None else _stat(found, path)

    async def is_circle(self, container: str, path: str) -> bool:
        """Whether a path for which `stat` returned None is a symlink loop."""
        try:
            async with self._connection.stream(
                "GET", f"/containers/{segment(container)}/archive", params={"path": path}, silence=ANSWER
            ):
                return False
        except NotFound as error:
            return is_symlink_loop(error)

    async def read_file(self, container: str, path: str, limit: int) -> bytes:
        """The first `limit` bytes of a regular file.

        Raises NotFound (no such path, or a symlink loop) or NotRegular.
        """
        data = bytearray()
        async with self._open(container, path) as chunks:
            async for chunk in chunks:
                data += chunk
                if len(data) >= limit:
                    break
        return bytes(data[:limit])

    async def download_file(self, container: str, path: str, destination: BinaryIO, limit: int | None = None) -> int:
        """Stream a regular file's content, or its first `limit` bytes, to `destination`; returns how many bytes it got.

        Raises as `read_file` does.
        """
        size = 0
        async with self._open(container, path) as chunks:
            async for chunk in chunks:
                size += destination.write(chunk if limit is None else chunk[: limit - size])
                if size == limit:
                    break
        return size

    async def read_folder(self, container: str, path: str, limit: int, most: int) -> dict[str, bytes | None]:
        """What is directly in a folder, by name: at most `limit` bytes of each regular file, None for anything else.

        Empty if the path is no folder. Podman sends all that is below it: raises TooLarge if that is more than `most`
        bytes, NotFound if there is no such path.
        """
        async with self._chunks(container, path) as chunks:
            return await folder(chunks, path, limit, most)

    async def make_folder(self, container: str, path: str) -> str | None:
        """Ensure that an absolute path of a container that does not run is a folder; returns its resolved path.

        What is missing of it is made, owned by root with mode 0755; links are followed within the container. None if
        something that is not a folder is in the way. (To start with a working directory that is missing, Podman either
        refuses, or makes an image's own, and then follows links out of the container.)
        """
        missing = list(PurePosixPath(posixpath.normpath(path)).parts[1:])
        there = "/"
        while missing and (found := await self.stat(container, posixpath.join(there, missing[0]))) is not None:
            if not found.directory:
                return None
            there = found.path
            del missing[0]
        if missing:
            url = f"/containers/{segment(container)}/archive"
            # Otherwise they would be the container's user's (4.3.1).
            params = {"path": there, "copyUIDGID": "false"}
            await self._connection.request("PUT", url, params=params, archive=_folders(missing))
        return posixpath.join(there, *missing)

    async def check(self, container: str) -> None:
        """Raise NotFound if there is no such container: a missing path does not tell."""
        await self._connection.request("GET", f"/containers/{segment(container)}/exists")

    async def _head(self, container: str, path: str) -> _Header | None:
        url = f"/containers/{segment(container)}/archive"
        try:
            response = await self._connection.request("HEAD", url, params={"path": path})
        except NotFound:
            await self.check(container)
            return None
        except PodmanError:
            await self._raise_reason(url, path)
            return None
        with reading("a path"):
            found = answer(base64.b64decode(response.headers[_STAT]))
            return _Header(int(found["mode"]), int(found["size"]), str(found["linkTarget"]))

    async def _raise_reason(self, url: str, path: str) -> None:
        """Repeat a failed HEAD as GET, whose body has the reason, and raise it; returns for a symlink loop.

        Podman answers a symlink loop with 500, like any other failure.
        """
        try:
            async with self._connection.stream("GET", url, params={"path": path}):
                raise PodmanError(f"Podman refused HEAD {url} and not GET")
        except NotFound:
            return

    @asynccontextmanager
    async def _open(self, container: str, path: str) -> AsyncIterator[AsyncIterator[bytes]]:
        async with (
            self._chunks(container, path) as sent,
            aclosing(first_file(sent, path)) as chunks,
        ):
            yield chunks

    @asynccontextmanager
    async def _chunks(self, container: str, path: str) -> AsyncIterator[AsyncIterator[bytes]]:
        url = f"/containers/{segment(container)}/archive"
        async with self._connection.stream("GET", url, params={"path": path}, silence=ANSWER) as response:
            yield response.chunks


def _stat(found: _Header, path: str) -> PathStat:
    return PathStat(
        path=path,
        size=found.size,
        mode=found.mode & 0o777,
        regular=not found.mode & _IRREGULAR,
        directory=bool(found.mode & _DIRECTORY),
    )


def _folders(names: Sequence[str]) -> bytes:
    """A tar file with folders, each in the one before.

    It ends after the last: Podman's reader stops at the marks of an end and then fails, now and then, on what follows.
    """
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for depth in range(len(names)):
            entry = tarfile.TarInfo("/".join(names[: depth + 1]))
            entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, 0o755, int(time.time())
            tar.addfile(entry)
        return archive.getvalue()
