"""A folder in place of an image, for `inspection/` without Podman. Links resolve inside the folder only."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from stromboli.inspection.opener import Found
from stromboli.inspection.openfile import OpenFile

_MAX_LINKS = 40


class DirectoryOpener:
    """An Opener for the folder `root`; `reads` and `stats` are the requested paths, in order."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.stats: list[str] = []
        self.reads: list[str] = []

    async def stat(self, path: str) -> Found | None:
        self.stats.append(path)
        real = self._resolve(path)
        if real is None:
            return None
        try:
            info = os.lstat(self._root / real.lstrip("/"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        regular, directory = stat.S_ISREG(info.st_mode), stat.S_ISDIR(info.st_mode)
        return Found(real, info.st_size, regular, bool(info.st_mode & 0o111), directory)

    async def is_circle(self, path: str) -> bool:
        return self._resolve(path) is None

    async def read(self, path: str, limit: int) -> bytes | None:
        self.reads.append(path)
        file = self._root / path.lstrip("/")
        if not stat.S_ISREG(os.lstat(file).st_mode):
            return None
        with file.open("rb") as f:
            return f.read(limit)

    @asynccontextmanager
    async def open(self, path: str, limit: int) -> AsyncIterator[OpenFile | None]:
        self.reads.append(path)
        found = await self.stat(path)
        if found is None or not found.regular:
            yield None
            return
        with (self._root / found.path.lstrip("/")).open("rb") as file:
            yield OpenFile(file.fileno(), min(found.size, limit))

    async def names(self, path: str) -> frozenset[str] | None:
        found = await self.stat(path)
        if found is None or not found.directory:
            return frozenset()
        return frozenset(os.listdir(self._root / found.path.lstrip("/")))

    async def files(self, path: str, limit: int) -> Mapping[str, bytes]:
        found = {}
        for name in await self.names(path) or ():
            file = await self.stat(f"{path}/{name}")
            if file is not None and file.regular and file.path.endswith(f"/{name}"):
                found[name] = (self._root / file.path.lstrip("/")).read_bytes()[:limit]
        return found

    def _resolve(self, path: str) -> str | None:
        """The path with all links resolved; None for a link loop. `..` stops at the root."""
        rest, links = path.split("/")[::-1], 0
        done: list[str] = []
        while rest:
            part = rest.pop()
            if part in ("", "."):
                continue
            if part == "..":
                del done[-1:]
                continue
            here = self._root.joinpath(*done, part)
            if not here.is_symlink():
                done.append(part)
                continue
            links += 1
            if links > _MAX_LINKS:
                return None
            target = os.readlink(here)
            if target.startswith("/"):
                done = []
            rest += target.split("/")[::-1]
        return "/" + "/".join(done)


class Image:
    """A folder in place of an image, with methods that add files to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.opener = DirectoryOpener(root)

    def file(self, path: str, data: bytes = b"", mode: int = 0o755) -> Image:
        target = self._made(path)
        target.write_bytes(data)
        target.chmod(mode)
        return self

    def link(self, path: str, target: str) -> Image:
        self._made(path).symlink_to(target)
        return self

    def _made(self, path: str) -> Path:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        return target
