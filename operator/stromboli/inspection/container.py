"""The `Opener` over Podman's archive API. `mounts` are the container's mount points."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import BinaryIO

from stromboli.errors import NoSpace, NotFound, NotRegular, PodmanError, TooLarge
from stromboli.inspection.opener import Found
from stromboli.inspection.openfile import OpenFile
from stromboli.inspection.root import MountedRoot
from stromboli.podman.transport import Podman

# Bytes that Podman sends for a folder whose names are wanted: more takes longer than asking for single names.
MOST_OF_A_FOLDER = 1024 * 1024


class ContainerOpener:
    """The files of one container."""

    def __init__(self, podman: Podman, container: str, mounts: Collection[str] = ()) -> None:
        self._archive = podman.archive
        self._container = container
        self._mounts = mounts

    async def stat(self, path: str) -> Found | None:
        found = await self._archive.stat(self._container, path, self._mounts)
        if found is None:
            return None
        return Found(
            path=found.path,
            size=found.size,
            regular=found.regular,
            executable=found.executable,
            directory=found.directory,
        )

    async def is_circle(self, path: str) -> bool:
        return await self._archive.is_circle(self._container, path)

    async def read(self, path: str, limit: int) -> bytes | None:
        try:
            return await self._archive.read_file(self._container, path, limit)
        except NotFound:
            return None

    @asynccontextmanager
    async def open(self, path: str, limit: int) -> AsyncIterator[OpenFile | None]:
        """The content is copied to a temporary file, since Podman sends it once and from the beginning."""
        with tempfile.TemporaryFile() as copy:
            yield await self._copied(path, limit, copy)

    async def _copied(self, path: str, limit: int, copy: BinaryIO) -> OpenFile | None:
        try:
            size = await self._archive.download_file(self._container, path, copy, limit)
            copy.flush()
        except (NotFound, NotRegular):
            await self._archive.check(self._container)
            return None
        except OSError as error:
            raise NoSpace(f"{path} of an image could not be copied to a temporary file: {error.strerror}") from error
        return OpenFile(copy.fileno(), size)

    async def names(self, path: str) -> frozenset[str] | None:
        try:
            return frozenset(await self._archive.read_folder(self._container, path, 0, MOST_OF_A_FOLDER))
        except TooLarge:
            return None
        except (NotFound, NotRegular):
            await self._archive.check(self._container)
            return frozenset()

    async def files(self, path: str, limit: int) -> Mapping[str, bytes]:
        try:
            found = await self._archive.read_folder(self._container, path, limit, MOST_OF_A_FOLDER)
        except TooLarge:
            return {}
        except (NotFound, NotRegular):
            await self._archive.check(self._container)
            return {}
        return {name: content for name, content in found.items() if content is not None}


class MountedOpener(ContainerOpener):
    """The same for a container that no process writes to, and whose root is mounted on the node.

    Everything is looked at and read there, at a hundredth of the cost: for each file, Podman starts a process.
    """

    def __init__(self, podman: Podman, container: str, root: MountedRoot) -> None:
        super().__init__(podman, container)
        self._root = root

    async def stat(self, path: str) -> Found | None:
        return await self._root.stat(path)

    async def is_circle(self, path: str) -> bool:
        return self._root.landing(path) is None

    async def read(self, path: str, limit: int) -> bytes | None:
        try:
            return await asyncio.to_thread(self._root.read, path, limit)
        except OSError as error:
            raise PodmanError(f"{path} of an image cannot be read on the node: {error.strerror}") from error

    @asynccontextmanager
    async def open(self, path: str, limit: int) -> AsyncIterator[OpenFile | None]:
        descriptor = self._root.open(path)
        if descriptor is None:
            yield None
            return
        try:
            yield OpenFile(descriptor, min(os.fstat(descriptor).st_size, limit))
        finally:
            os.close(descriptor)

    async def names(self, path: str) -> frozenset[str] | None:
        return self._root.names(path)

    async def files(self, path: str, limit: int) -> Mapping[str, bytes]:
        return self._root.files(path, limit, MOST_OF_A_FOLDER) or {}
