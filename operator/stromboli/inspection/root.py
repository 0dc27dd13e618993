"""A container's root that is mounted on the node: paths are looked at without being opened, files read if regular.

Only for a root that no process is writing to. Symlinks are resolved inside it and never outside, as securejoin does
for Podman.
"""

from __future__ import annotations

import itertools
import os
import stat
from pathlib import Path

from stromboli.inspection.opener import Found

_MAX_LINKS = 40  # as the kernel
_MOST_NAMES = 20_000  # in one folder


class MountedRoot:
    """The files below `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def visible(self) -> bool:
        """Whether the root's contents are visible; outside Podman's mount namespace, they are not."""
        try:
            with os.scandir(self._root) as entries:
                return next(entries, None) is not None
        except OSError:
            return False

    def landing(self, path: str) -> str | None:
        """Where a mount at `path` ends up, symlinks resolved, even if nothing is there yet; None for a symlink loop."""
        return self._resolved(path)

    async def stat(self, path: str) -> Found | None:
        real = self._resolved(path)
        if real is None:
            return None
        try:
            info = os.lstat(self._inside(real))
        except OSError:  # nothing is there, or its parent is not a folder
            return None
        return Found(
            path=real,
            size=info.st_size,
            regular=stat.S_ISREG(info.st_mode),
            executable=bool(info.st_mode & 0o111),
            directory=stat.S_ISDIR(info.st_mode),
        )

    def open(self, path: str) -> int | None:
        """A descriptor of the regular file that a path resolves to; None if something else or nothing is there.

        Opening a pipe may block and opening a device has effects. So the path is opened only as a place, and the place
        for reading once it is known what is there.
        """
        real = self._resolved(path)
        if real is None:
            return None
        try:
            place = os.open(self._inside(real), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            if not stat.S_ISREG(os.fstat(place).st_mode):
                return None
            return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        finally:
            os.close(place)

    def read(self, path: str, limit: int) -> bytes | None:
        """The first `limit` bytes of the regular file that a path resolves to; None if there is none.

        Raises OSError.
        """
        descriptor = self.open(path)
        if descriptor is None:
            return None
        with open(descriptor, "rb", buffering=0) as file:
            content = bytearray()
            while len(content) < limit and (piece := file.read(limit - len(content))):
                content += piece
            return bytes(content)

    def names(self, path: str) -> frozenset[str] | None:
        """What is in the folder that a path resolves to; empty if no folder is there, None if there are too many."""
        real = self._resolved(path)
        if real is None:
            return frozenset()
        try:
            with os.scandir(self._inside(real)) as entries:
                names = frozenset(entry.name for entry in itertools.islice(entries, _MOST_NAMES + 1))
        except OSError:
            return frozenset()
        return names if len(names) <= _MOST_NAMES else None

    def files(self, path: str, limit: int, most: int) -> dict[str, bytes] | None:
        """The regular files directly in the folder that a path resolves to, by name, at most `limit` bytes of each.

        None if the folder has too many names, or if its files have more than `most` bytes.
        """
        names, folder = self.names(path), self._resolved(path)
        if names is None or folder is None:
            return None
        found: dict[str, bytes] = {}
        for name in sorted(names):
            if os.path.islink(self._inside(f"{folder}/{name}")) or (file := self.open(f"{folder}/{name}")) is None:
                continue
            try:
                most -= os.fstat(file).st_size
                if most < 0:
                    return None
                found[name] = os.read(file, limit)
            except OSError:
                continue
            finally:
                os.close(file)
        return found

    def _inside(self, path: str) -> str:
        return f"{self._root}{path}"

    def _resolved(self, path: str) -> str | None:
        """The path with all symlinks resolved; None for a symlink loop. `..` stops at the root."""
        rest, links = path.split("/")[::-1], 0
        done = ""
        while rest:
            match rest.pop():
                case "" | ".":
                    continue
                case "..":
                    done = done.rpartition("/")[0]
                    continue
                case part:
                    here = f"{done}/{part}"
            try:
                target = os.readlink(self._inside(here))
            except OSError:  # not a symlink
                done = here
                continue
            links += 1
            if links > _MAX_LINKS:
                return None
            if target.startswith("/"):
                done = ""
            rest += target.split("/")[::-1]
        return done or "/"
