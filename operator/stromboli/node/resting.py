"""A session's container between two runs: stopped, and what is known of it written down.

What is known (`attempt/state.py`) is judged from the records of the last attempt that the container was handed to,
whoever looks first: the end of a run, the next run's start, a deletion, or an operator that comes back. Whoever calls
holds the session (serial.py).
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from stromboli import naming
from stromboli.apart import apart
from stromboli.attempt import records
from stromboli.attempt.folder import SessionFolder
from stromboli.attempt.site import Site
from stromboli.attempt.state import State
from stromboli.attempt.usage import disk_usage
from stromboli.errors import LabelsLost, NotFound, PodmanUnavailable
from stromboli.grammar import times
from stromboli.inspection import startfiles
from stromboli.node.cleanup import Cleaner
from stromboli.plan import session as plan
from stromboli.plan.attempt import HOOKS_FILE
from stromboli.plan.container import Shape
from stromboli.plan.redaction import UNKNOWN
from stromboli.podman.containers import ContainerState
from stromboli.podman.transport import Podman

ENDING = 30.0  # seconds from KILL until Podman says that the container has ended


class Resting:
    """The containers of this node's sessions."""

    def __init__(self, podman: Podman, site: Site, cleaner: Cleaner) -> None:
        self._podman = podman
        self._site = site
        self._cleaner = cleaner

    async def find(self, uid: str) -> ContainerState | None:
        """The session's container; one that is not ours counts as none. Raises PodmanError, PodmanUnavailable."""
        found = await self._podman.containers.inspect(naming.container(uid))
        if found is None or not self._site.owns_container(uid, found.name, found.labels):
            return None
        return found

    async def ended(self, uid: str) -> ContainerState | None:
        """The session's container, which does not run: that is Podman's word, once it was ended if need be.

        Raises PodmanError, PodmanUnavailable, also where it has not ended in time: then it may still run.
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

    async def settled(self, uid: str) -> tuple[ContainerState | None, State]:
        """The session's container, not running, and what is known of it. Raises as `ended`, and OSError, NoSpace."""
        container = await self.ended(uid)
        folder = self._site.folder(uid)
        if container is None:
            return None, await asyncio.to_thread(folder.read_state)
        if container.status == "initialized":  # it would start with the attempt before this
            await self._podman.containers.stop(container.id)
        return container, await asyncio.to_thread(_noted, folder, container)

    async def unstartable(self, container: ContainerState) -> str:
        """Why a start of a container, in which an agent was, would keep Podman waiting; empty where it would not."""
        return await startfiles.problem_in(self._podman, container.id, shape_of(container).mount_points)

    async def rest(self, uid: str) -> State | None:
        """Between two runs: the container away where its beginning has not succeeded, and no secrets.

        What is known of the container that stays, None where none does. Raises as `settled`.
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
        """Disk of the container's own files, of a fork's copy, and of the volume where the operator can see it.

        `image_id` is that of the image which the session began with.

        The session need not be held: what is removed meanwhile counts nothing. Raises PodmanError, PodmanUnavailable,
        OSError, LocalFailure.
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
            total += await apart(disk_usage, Path(volume.mountpoint))
        return total


def _noted(folder: SessionFolder, container: ContainerState) -> State:
    """What is known of the container, with what the last attempt in it has left. Blocking."""
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
    """What a session's container has that policies restrict. Raises LabelsLost."""
    try:
        return Shape.from_label(container.labels[naming.SHAPE])
    except (ValueError, KeyError, TypeError) as e:
        raise LabelsLost(f"the container {container.name} has lost its labels; remove it") from e
