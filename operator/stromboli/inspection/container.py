"""The `Opener` over Podman's archive API. `mounts` are the container's mount points."""

from __future__ import annotations

from collections.abc import Collection

from stromboli.errors import NotFound
from stromboli.inspection.opener import Found
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
