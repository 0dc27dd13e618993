"""Taking away what has no owner any more: at a run's end, at its deletion, and by the sweep.

Only what bears this installation's label is touched, and only by the owner's UID. What is away already is no
error; what Podman cannot say now is tried again by the next sweep. Whose things go, nobody else touches meanwhile
(serial.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stromboli import naming
from stromboli.apart import apart
from stromboli.attempt import folder
from stromboli.attempt.removal import remove_tree
from stromboli.attempt.site import Site
from stromboli.perform.copy import Copier
from stromboli.perform.janitor import Janitor
from stromboli.perform.serial import SessionLocks
from stromboli.podman.transport import Podman

log = logging.getLogger(__name__)

REMOVALS = 2  # folders that are emptied at a time, whatever agents have made in them


class Cleaner:
    """Removes a session's things from this node."""

    def __init__(self, podman: Podman, site: Site, locks: SessionLocks) -> None:
        self._podman = podman
        self._site = site
        self._locks = locks
        self._janitor = Janitor(podman, site)
        self._copier = Copier(podman, site)
        self._removals = asyncio.Semaphore(REMOVALS)

    async def finished(self, uid: str) -> None:
        """A run has ended: its container, its volume and its secrets go; its folder stays until it is deleted."""
        async with self._locks.hold(uid):
            await self.start_over(uid)

    async def deleted(self, uid: str) -> None:
        """A run or a session is deleted: nothing of it stays."""
        async with self._locks.hold(uid):
            await self.start_over(uid)
            await self._copies(uid)
            folder = self._site.folder(uid)
            await self._emptied(uid, folder.path, folder.remove)

    async def start_over(self, uid: str) -> None:
        """As `finished`, for a caller that holds the session: another attempt is to begin with nothing."""
        self._locks.check(uid)
        await self._container(uid)
        await self._volume(uid)
        await self.without_secrets(uid)

    async def without_secrets(self, uid: str) -> None:
        """What lies on tmpfs goes. The caller holds the session."""
        self._locks.check(uid)
        folder = self._site.folder(uid)
        await self._emptied(uid, folder.secrets, folder.remove_secrets)

    async def without_attempt(self, run_uid: str, attempt: Path) -> None:
        """The folder of one attempt goes, out of a session that stays; the caller holds that one."""
        await self._emptied(run_uid, attempt, lambda: remove_tree(attempt))

    async def _emptied(self, uid: str, folder: Path, remove: Callable[[], None]) -> None:
        """Remove a folder, whomever an agent has made things in it belong to."""
        try:
            try:
                await self._removed(remove)
            except PermissionError:
                await self._janitor.reclaim(uid, folder)
                await self._removed(remove)
        except OSError as error:
            log.warning("%s cannot be removed; the next sweep tries again: %s", folder, error)

    async def _removed(self, remove: Callable[[], None]) -> None:
        async with self._removals:
            await apart(remove)

    async def _container(self, uid: str) -> None:
        found = await self._podman.containers.inspect(naming.container(uid))
        if found is not None and self._is_ours(f"container {found.name}", found.labels, uid):
            await self._podman.containers.remove(found.id)

    async def _volume(self, uid: str) -> None:
        found = await self._podman.volumes.inspect(naming.volume(uid))
        if found is not None and self._is_ours(f"volume {found.name}", found.labels, uid):
            await self._podman.volumes.remove(found.name)

    async def _copies(self, uid: str) -> None:
        """What a fork began with, and what is left of a copy that was cut short: also such as have no name any more."""
        found = await self._podman.copies.images(self._site.marks(uid))
        if found:
            await self._copier.drop(naming.copy(uid))
        for copy in found:
            await self._podman.copies.remove(copy.id)

    def _is_ours(self, what: str, labels: Mapping[str, str], uid: str) -> bool:
        if self._site.marks(uid).items() <= labels.items():
            return True
        log.warning("the %s is not ours and stays", what)
        return False


@dataclass(frozen=True, slots=True)
class Found:
    """UIDs of sessions that have something on the node, and of runs that have something in one."""

    everywhere: frozenset[str]
    # of those, the ones with a container, a volume or secrets, which only a run that goes on needs
    needed_while_running: frozenset[str]


class Inventory:
    """What lies on the node."""

    def __init__(self, podman: Podman, site: Site) -> None:
        self._podman = podman
        self._site = site
        self._labels = {naming.INSTALLATION: site.installation}

    async def take(self) -> Found:
        """Everybody who has something here. Raises PodmanError, PodmanUnavailable."""
        made, kept, copies = await asyncio.gather(
            self._podman.containers.list(self._labels),
            self._podman.volumes.list(self._labels),
            self._podman.copies.images(self._labels),
        )
        labels = [c.labels for c in made] + [v.labels for v in kept]
        copied = {copy.labels[naming.OWNER] for copy in copies if naming.OWNER in copy.labels}
        running = {found[naming.OWNER] for found in labels if naming.OWNER in found}
        running |= await asyncio.to_thread(folder.with_secrets, self._site.runtime_dir)
        sessions = await asyncio.to_thread(folder.sessions, self._site.home)
        runs = await asyncio.to_thread(folder.runs, self._site.home)
        return Found(frozenset(running | sessions | runs | copied), frozenset(running))
