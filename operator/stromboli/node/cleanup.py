"""Removes what no longer has an owner: at a run's end, at its deletion, and for the sweep.

Only objects that belong to this installation by name and labels (plan/ownership.py) are removed. All removals are
idempotent, and the next sweep retries what failed. The session is locked during a removal (serial.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from stromboli import naming
from stromboli.apart import apart
from stromboli.attempt import containers, folder
from stromboli.attempt.removal import remove_tree
from stromboli.attempt.site import Site
from stromboli.attempt.tidy import tidy
from stromboli.errors import PodmanError
from stromboli.naming import Role
from stromboli.node.copy import Copier
from stromboli.node.janitor import Janitor
from stromboli.node.serial import SessionLocks
from stromboli.node.stacks import remains
from stromboli.node.stacks.remains import StackRemains
from stromboli.plan import ownership
from stromboli.plan.stack import names as stack_names
from stromboli.podman.transport import Podman

log = logging.getLogger(__name__)

REMOVALS = 2  # how many folders are emptied concurrently


class Cleaner:
    """Removes a session's containers, volumes, images and folders from this node."""

    def __init__(self, podman: Podman, site: Site, locks: SessionLocks) -> None:
        self._podman = podman
        self._site = site
        self._locks = locks
        self._janitor = Janitor(podman, site)
        self._copier = Copier(podman, site)
        self._stacks = StackRemains(podman, site)
        self._removals = asyncio.Semaphore(REMOVALS)

    async def finished(self, uid: str) -> None:
        """After a run's end: remove its containers, volume and secrets; its folder stays until the run is deleted.

        Its containers are found by name, unless it has a stack. Any other that has its labels is left to the sweep
        (`left_over`).
        """
        async with self._locks.hold(uid):
            if self._site.folder(uid).has_stack:
                await self._all_but_folder(uid)
                return
            found = await containers.by_name(self._podman, self._site, uid)
            await self._containers(container.id for container in found)
            await self._volume_and_secrets(uid)

    async def left_over(self, uid: str) -> None:
        """As `finished`, for whatever has the run's labels; its folder is tidied, too."""
        async with self._locks.hold(uid):
            await self._all_but_folder(uid)
        await self.tidy(uid, uid)

    async def deleted(self, uid: str) -> None:
        """After the deletion of a run or session: remove everything of it."""
        async with self._locks.hold(uid):
            await self._all_but_folder(uid)
            await self._copier.drop(naming.copy(uid))
            folder = self._site.folder(uid)
            await self._emptied(uid, folder.path, folder.remove)

    async def start_over(self, uid: str) -> None:
        """Remove what an attempt had, so that the next one starts from scratch; the session's other containers stay.

        The caller holds the session's lock.
        """
        self._locks.check(uid)
        if (agent := await containers.find(self._podman, self._site, naming.agent(uid))) is not None:
            await self._podman.containers.remove(agent.id)
        await self._volume_and_secrets(uid)

    def take_back(self, uid: str) -> None:
        """Remove what was handed over for a start, if the operator that made it was killed before it did."""
        self._site.folder(uid).take_back()

    async def without_secrets(self, uid: str) -> None:
        """Remove the secrets on tmpfs. The caller holds the session's lock."""
        self._locks.check(uid)
        folder = self._site.folder(uid)
        await self._emptied(uid, folder.secrets, folder.remove_secrets)

    async def sessions_of(self, run_uid: str) -> set[str]:
        """UIDs of the sessions in which this run has attempts."""
        return await asyncio.to_thread(folder.sessions_of, self._site.home, run_uid)

    async def without_attempts(self, session: str, run_uid: str) -> None:
        """Remove the folders of a run's attempts from a session that stays, and the secrets that they were given first:
        as long as there is a folder, the sweep finds what was left.
        """
        async with self._locks.hold(session):
            folder = self._site.folder(session)
            for attempt in folder.attempts_of(run_uid):
                folder.forget_given(attempt.name)
                await self._emptied(run_uid, attempt, lambda attempt=attempt: remove_tree(attempt))  # type: ignore[misc]

    async def tidy(self, session: str, run_uid: str) -> None:
        """After a run's end: remove everything but the records from its attempts' `out/` folders, and the secrets of
        those whose output has none.
        """
        folder = self._site.folder(session)
        for attempt in folder.attempts_of(run_uid):
            out = attempt / "out"
            await self._emptied(session, out, lambda out=out: tidy(out))  # type: ignore[misc]
            await self._emptied(session, out, lambda name=attempt.name: folder.settle_given(name))  # type: ignore[misc]

    async def _emptied(self, uid: str, folder: Path, remove: Callable[[], None]) -> None:
        """Call `remove` for a folder; if its files belong to other users, take ownership first and retry."""
        try:
            try:
                await self._removed(remove)
            except PermissionError:
                await self._janitor.reclaim(uid, folder)
                await self._removed(remove)
        except OSError as error:
            log.warning("%s cannot be removed; the next sweep will retry: %s", folder, error)

    async def _removed(self, remove: Callable[[], None]) -> None:
        async with self._removals:
            await apart(remove)

    async def _all_but_folder(self, uid: str) -> None:
        found = await containers.of_session(self._podman, self._site, uid)
        # Podman removes no container whose network namespace another one shares.
        found.sort(key=lambda one: stack_names.is_holder(Role(one.labels.get(naming.ROLE, ""))))
        await self._containers(container.id for container in found)
        folder = self._site.folder(uid)
        if folder.has_stack:
            await self._stacks.remove(uid)
            await self._emptied(uid, folder.path, folder.remove_stack)
        await self._volume_and_secrets(uid)

    async def _volume_and_secrets(self, uid: str) -> None:
        await self._volume(uid)
        await self.without_secrets(uid)

    async def _containers(self, ids: Iterable[str]) -> None:
        """Remove containers of a session. One that Podman cannot remove does not keep the others."""
        failure: PodmanError | None = None
        for container in ids:
            try:
                await self._podman.containers.remove(container)
            except PodmanError as error:
                failure = error
        if failure is not None:
            raise failure

    async def _volume(self, uid: str) -> None:
        found = await self._podman.volumes.inspect(naming.volume(uid))
        if found is None:
            return
        if self._site.owns_volume(uid, found.name, found.labels):
            await self._podman.volumes.remove(found.name)
        else:
            log.warning("the volume %s is not ours, so it is not removed", found.name)


@dataclass(frozen=True, slots=True)
class Found:
    """UIDs of the sessions that have something on the node, and of the runs that have attempts in one."""

    everywhere: frozenset[str]
    # the subset with a container, a volume or secrets, which only an unfinished run needs
    needed_while_running: frozenset[str]
    # the sessions of which a service runs
    running_stacks: frozenset[str] = frozenset()


class Inventory:
    """Lists what this installation has on the node."""

    def __init__(self, podman: Podman, site: Site) -> None:
        self._podman = podman
        self._site = site
        self._labels = {naming.INSTALLATION: site.installation}

    async def take(self) -> Found:
        """List the owners of everything on the node. Raises PodmanError, PodmanUnavailable."""
        ours = self._site.installation
        made, kept, copies, networks = await asyncio.gather(
            self._podman.containers.list(self._labels),
            self._podman.volumes.list(self._labels),
            self._podman.copies.images(self._labels),
            self._podman.networks.list(self._labels),
        )
        keys = {c.id: key for c in made if (key := ownership.container_key(c.name, c.labels, ours)) is not None}
        running = {key.session for key in keys.values()}
        up = {c.id for c in made if c.status == "running"}
        stacks_up = {key.session for id, key in keys.items() if id in up and stack_names.is_service(key.role)}
        running |= remains.owners(networks, kept, copies, ours)
        running |= {uid for v in kept if (uid := ownership.session_of_volume(v.name, v.labels, ours)) is not None}
        copied = {uid for copy in copies for uid in ownership.copies_of(copy.names, copy.labels, ours).values()}
        running |= await asyncio.to_thread(folder.with_secrets, self._site.runtime_dir)
        sessions = await asyncio.to_thread(folder.sessions, self._site.home)
        sessions |= await asyncio.to_thread(folder.with_given, self._site.runtime_dir)
        runs = await asyncio.to_thread(folder.runs, self._site.home)
        everywhere = frozenset(running | sessions | runs | copied)
        return Found(everywhere, frozenset(running), frozenset(stacks_up))
