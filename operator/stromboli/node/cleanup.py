"""Taking away what has no owner any more: at a run's end, at its deletion, and by the sweep.

Only what is this installation's by name and labels (plan/ownership.py) is touched. What is away already is no error;
what Podman cannot say now is tried again by the next sweep. Whose things go, nobody else touches meanwhile (serial.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stromboli import naming
from stromboli.apart import apart
from stromboli.attempt import folder
from stromboli.attempt.removal import remove_tree
from stromboli.attempt.site import Site
from stromboli.attempt.tidy import tidy
from stromboli.node.copy import Copier
from stromboli.node.janitor import Janitor
from stromboli.node.serial import SessionLocks
from stromboli.plan import ownership
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
            await self._copier.drop(naming.copy(uid))
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

    async def tidy(self, session: str, run_uid: str) -> None:
        """A run has ended: of what its agent wrote where the records are, they alone stay."""
        for attempt in self._site.folder(session).attempts_of(run_uid):
            out = attempt / "out"
            await self._emptied(session, out, lambda out=out: tidy(out))  # type: ignore[misc]

    async def _emptied(self, uid: str, folder: Path, remove: Callable[[], None]) -> None:
        """Remove a folder, whoever owns what an agent has made in it."""
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
        if found is None:
            return
        if self._site.owns_container(uid, found.name, found.labels):
            await self._podman.containers.remove(found.id)
        else:
            log.warning("the container %s is not ours and stays", found.name)

    async def _volume(self, uid: str) -> None:
        found = await self._podman.volumes.inspect(naming.volume(uid))
        if found is None:
            return
        if self._site.owns_volume(uid, found.name, found.labels):
            await self._podman.volumes.remove(found.name)
        else:
            log.warning("the volume %s is not ours and stays", found.name)


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
        ours = self._site.installation
        made, kept, copies = await asyncio.gather(
            self._podman.containers.list(self._labels),
            self._podman.volumes.list(self._labels),
            self._podman.copies.images(self._labels),
        )
        found = {ownership.session_of_container(c.name, c.labels, ours) for c in made}
        found |= {ownership.session_of_volume(v.name, v.labels, ours) for v in kept}
        running = {uid for uid in found if uid is not None}
        copied = {uid for copy in copies for uid in ownership.copies_of(copy.names, copy.labels, ours).values()}
        running |= await asyncio.to_thread(folder.with_secrets, self._site.runtime_dir)
        sessions = await asyncio.to_thread(folder.sessions, self._site.home)
        runs = await asyncio.to_thread(folder.runs, self._site.home)
        return Found(frozenset(running | sessions | runs | copied), frozenset(running))
