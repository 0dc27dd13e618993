"""Takes back ownership of files that an agent has given to other users.

With rootless Podman, an agent that is root in its container can chown its files to ids that exist only in Podman's user
namespace, so that the operator can neither list nor remove such a folder. A container with nothing but a busybox can
chown them back to the operator. What happens to them then is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from stromboli import naming
from stromboli.attempt import busybox, containers
from stromboli.attempt.site import Site
from stromboli.errors import PodmanError
from stromboli.naming import ContainerKey
from stromboli.node.serial import SessionLocks
from stromboli.podman.transport import Podman

SECONDS = 120.0  # timeout for one folder; the size of its contents is bounded elsewhere

_PLACE = "/place"
_PROGRAM = "busybox"


class Janitor:
    """Takes back ownership of this node's session folders."""

    def __init__(self, podman: Podman, site: Site) -> None:
        self._podman = podman
        self._site = site
        self._locks = SessionLocks()  # of its own: a caller may hold the session already

    async def reclaim(self, uid: str, folder: Path) -> None:
        """Make the operator the owner of a folder of session `uid` and everything in it. Raises PodmanError,
        PodmanUnavailable.

        The helper is one of the session's containers, so that cleanup finds it. There is one at a time for a session.
        """
        root = await asyncio.to_thread(self._root)
        async with self._locks.hold(uid):
            await self._chown(ContainerKey(uid, naming.JANITOR), root, folder)

    async def _chown(self, key: ContainerKey, root: Path, folder: Path) -> None:
        if (left := await containers.find(self._podman, self._site, key)) is not None:  # by an operator that was killed
            await self._podman.containers.remove(left.id)
        created = await self._podman.containers.create(self._body(key, root, folder))
        try:
            await self._podman.containers.start(created)
            async with asyncio.timeout(SECONDS):
                await self._podman.containers.wait(created)
        except TimeoutError as error:
            raise PodmanError(f"taking back ownership of {folder} took longer than {SECONDS:.0f} s") from error
        finally:
            await self._podman.containers.remove(created)

    def _root(self) -> Path:
        """The container's entire root file system; Podman creates mount points in it."""
        root = self._site.home / "janitor"
        root.mkdir(mode=0o700, exist_ok=True)
        new = root / f".{_PROGRAM}"
        new.unlink(missing_ok=True)
        os.link(busybox.path(self._site.home), new)
        new.replace(root / _PROGRAM)
        return root

    def _body(self, key: ContainerKey, root: Path, folder: Path) -> dict[str, object]:
        return {
            "name": key.name,
            "labels": {**self._site.owner_labels(key.session), naming.ROLE: key.role},
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
