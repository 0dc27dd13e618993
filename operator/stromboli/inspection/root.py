"""A container's root as it is mounted on the node: what stands at a path of it, looked up without opening anything.

For a root that nobody is writing in. Links are resolved inside it and never outside, as securejoin does for Podman.
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
        """Whether anything is to be seen: to an operator outside of Podman's mount namespace nothing is."""
        try:
            with os.scandir(self._root) as entries:
                return next(entries, None) is not None
        except OSError:
            return False

    def landing(self, path: str) -> str | None:
        """Where something that is mounted at a path lands, also where nothing is there yet; None for a circle."""
        return self._resolved(path)

    async def stat(self, path: str) -> Found | None:
        real = self._resolved(path)
        if real is None:
            return None
        try:
            info = os.lstat(self._inside(real))
        except OSError:  # nothing there, or below what is no folder
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
        """Where all links end; None for a circle. `..` stops at the root."""
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
            except OSError:  # no link
                done = here
                continue
            links += 1
            if links > _MAX_LINKS:
                return None
            if target.startswith("/"):
                done = ""
            rest += target.split("/")[::-1]
        return done or "/"
