"""Getting back what an agent has given away.

Where Podman is rootless, an agent that is root in its container can make its files another's: of ids that only
Podman's user namespace has, so that the operator may neither look into such a folder nor remove it. A container
that is nothing but a busybox can, and makes them the operator's own again. What is then done with them is not here.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from stromboli import naming
from stromboli.attempt import busybox
from stromboli.attempt.site import Site
from stromboli.errors import PodmanError
from stromboli.podman.transport import Podman

SECONDS = 120.0  # for one folder: what an agent has made in it has bounds of its own

_PLACE = "/place"
_PROGRAM = "busybox"


class Janitor:
    """Of this node's folders."""

    def __init__(self, podman: Podman, site: Site) -> None:
        self._podman = podman
        self._site = site

    async def reclaim(self, uid: str, folder: Path) -> None:
        """Make a session's folder, and all that is in it, the operator's own. Raises PodmanError, PodmanUnavailable.

        The session's own container is gone by now: this one has its name and labels, so that whoever looks for
        what the session has left finds it.
        """
        root = await asyncio.to_thread(self._root)
        created = await self._podman.containers.create(self._body(uid, root, folder))
        try:
            await self._podman.containers.start(created)
            async with asyncio.timeout(SECONDS):
                await self._podman.containers.wait(created)
        except TimeoutError as error:
            raise PodmanError(f"giving {folder} back to the operator took longer than {SECONDS:.0f} s") from error
        finally:
            await self._podman.containers.remove(created)

    def _root(self) -> Path:
        """The container's whole file system; Podman makes in it what it wants to mount."""
        root = self._site.home / "janitor"
        root.mkdir(mode=0o700, exist_ok=True)
        new = root / f".{_PROGRAM}"
        new.unlink(missing_ok=True)
        os.link(busybox.path(self._site.home), new)
        new.replace(root / _PROGRAM)
        return root

    def _body(self, uid: str, root: Path, folder: Path) -> dict[str, object]:
        return {
            "name": naming.container(uid),
            "labels": self._site.marks(uid),
            "rootfs": str(root),
            "entrypoint": [f"/{_PROGRAM}", "chown", "-R", "0:0", _PLACE],
            "command": [],
            "user": "0:0",  # in Podman's user namespace that is the operator
            "mounts": [{"type": "bind", "source": str(folder), "destination": _PLACE, "options": ["rw", "rbind"]}],
            "netns": {"nsmode": "none"},
            "no_new_privileges": True,
            "healthconfig": {"Test": ["NONE"]},
            "log_configuration": {"driver": "none"},
            "restart_policy": "no",
        }
