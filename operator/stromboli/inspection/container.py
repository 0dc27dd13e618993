"""The `Opener` over Podman's archive API. `mounts` are the container's mount points."""

from __future__ import annotations

from collections.abc import Collection

from stromboli.errors import NotFound
from stromboli.inspection.opener import Found
from stromboli.inspection.root import MountedRoot
from stromboli.podman.transport import Podman


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


class MountedOpener(ContainerOpener):
    """The same for a container that no process writes to, and whose root is mounted on the node.

    Stats look there, at a hundredth of the cost; content comes from Podman, which opens nothing but regular files.
    """

    def __init__(self, podman: Podman, container: str, root: MountedRoot) -> None:
        super().__init__(podman, container)
        self._root = root

    async def stat(self, path: str) -> Found | None:
        return await self._root.stat(path)

    async def is_circle(self, path: str) -> bool:
        return self._root.landing(path) is None
