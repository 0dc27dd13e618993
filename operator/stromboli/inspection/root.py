"""Stats paths in a container's root that is mounted on the node, without opening anything.

Only for a root that no process is writing to. Symlinks are resolved inside it and never outside, as securejoin does
for Podman.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from stromboli.inspection.opener import Found

_MAX_LINKS = 40  # as the kernel


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
