"""A session's agent container between two runs: ensures that it is stopped, and records what is known about it.

That (`attempt/session_state.py`) is derived from the records of the last attempt in the container, by whichever comes
first: a run's end, the next run's start, a deletion, or a restart of the operator. The caller holds the session's lock
(serial.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from stromboli import naming
from stromboli.apart import apart
from stromboli.attempt import containers, records
from stromboli.attempt.folder import SessionFolder
from stromboli.attempt.session_state import SessionState
from stromboli.attempt.site import Site
from stromboli.attempt.usage import disk_usage
from stromboli.errors import LabelsLost, NotFound, PodmanUnavailable
from stromboli.grammar import times
from stromboli.inspection import startfiles
from stromboli.node.cleanup import Cleaner
from stromboli.plan import session as plan
from stromboli.plan.attempt import HOOKS_FILE
from stromboli.plan.container import Shape, labels_lost
from stromboli.plan.redaction import UNKNOWN
from stromboli.podman.container_state import ContainerState
from stromboli.podman.transport import Podman

ENDING = 30.0  # seconds to wait for Podman to report the end after KILL


class Resting:
    """The containers that the agents of this node's sessions run in."""

    def __init__(self, podman: Podman, site: Site, cleaner: Cleaner) -> None:
        self._podman = podman
        self._site = site
        self._cleaner = cleaner

    async def find(self, uid: str) -> ContainerState | None:
        """The session's agent container; None also if it is not ours. Raises PodmanError, PodmanUnavailable."""
        return await containers.find(self._podman, self._site, naming.agent(uid))

    def handed_to(self, uid: str) -> str:
        """The name of the last attempt that the session's container was handed to, empty for none."""
        return self._site.folder(uid).handed_to() or ""

    async def ended(self, uid: str) -> ContainerState | None:
        """Ensure that the session's container has ended, killing it if necessary; returns it, or None.

        Raises PodmanError, PodmanUnavailable; the latter also if it has not ended in time and may still be running.
        """
        container = await self.find(uid)
        if container is None or not container.alive:
            return container
        await self._podman.containers.kill(container.id)
        try:
            async with asyncio.timeout(ENDING):
                await self._podman.containers.wait(container.id)
        except NotFound:
            return None
        except TimeoutError:
            pass
        container = await self.find(uid)
        if container is not None and container.alive:
            raise PodmanUnavailable(f"the container {container.name} is {container.status}, although it was killed")
        return container

    async def undone(self, uid: str) -> ContainerState | None:
        """As `ended`; and if the session's container has been initialized, it would start with the mounts of that time:
        these are undone. Raises as `ended`.
        """
        container = await self.ended(uid)
        if container is not None and container.status == "initialized":
            await self._podman.containers.stop(container.id)
        return container

    async def settled(self, uid: str) -> tuple[ContainerState | None, SessionState]:
        """The session's container, stopped, and its state. Raises as `ended`, and OSError, NoSpace, LocalFailure."""
        container = await self.undone(uid)
        folder = self._site.folder(uid)
        if container is None:
            return None, await asyncio.to_thread(folder.read_state)
        return container, await asyncio.to_thread(_noted, folder, container)

    async def unstartable(self, container: str, shape: Shape) -> str:
        """Why starting this container, which an agent has used, would block Podman; empty if it would not."""
        return await startfiles.problem_in(self._podman, container, shape.mount_points)

    async def rest(self, uid: str) -> SessionState | None:
        """After a run: remove the secrets, and the container if the session's initial hooks have not succeeded in it.

        Returns the state of the container that stays, or None. Raises as `settled` does.
        """
        container, state = await self.settled(uid)
        await self._cleaner.without_secrets(uid)
        if container is None:
            return None
        if state.container == container.id:
            return state
        await self._podman.containers.remove(container.id)
        return None

    async def size(self, uid: str, image_id: str) -> int:
        """Bytes of disk of the container's writable layer, of a fork's copy, and of the volume if the operator sees it.

        `image_id` is the image that the session began with. The session's lock is not needed: what is removed
        meanwhile counts as 0. Raises PodmanError, PodmanUnavailable, OSError, LocalFailure.
        """
        total = 0
        if (container := await self.find(uid)) is not None:
            with contextlib.suppress(NotFound):
                total += await self._podman.containers.size(container.id)
        state = await asyncio.to_thread(self._site.folder(uid).read_state)
        if state.copy:
            copied, image = await asyncio.gather(*map(self._podman.images.inspect, (state.copy, image_id)))
            total += max(copied.size - image.size, 0) if copied and image else 0
        volume = await self._podman.volumes.inspect(naming.volume(uid))
        if volume is not None:
            over = threading.Event()
            try:
                total += await apart(disk_usage, Path(volume.mountpoint), over)
            finally:
                over.set()
        return total


def _noted(folder: SessionFolder, container: ContainerState) -> SessionState:
    """The session's state, updated from the records of the last attempt in the container. Blocking."""
    state, last = folder.read_state(), folder.handed_to()
    if last is None:
        return state
    found = records.read(folder.path / "attempts" / last / "out", UNKNOWN, stdout_limit=0)
    new = replace(state, begun=True) if found.sent else state
    if state.container != container.id and plan.has_initialized(found):
        hooks = (folder.path / "attempts" / last / "plan" / HOOKS_FILE).read_text(encoding="ascii")
        new = replace(new, container=container.id, hooks=hooks, at=times.to_text(datetime.now(UTC)))
    if new != state:
        folder.write_state(new)
    return new


def shape_of(container: ContainerState) -> Shape:
    """The properties of a session's container that policies restrict. Raises LabelsLost."""
    try:
        return Shape.from_label(container.labels[naming.SHAPE])
    except (ValueError, KeyError) as e:
        raise LabelsLost(labels_lost(container.name)) from e
