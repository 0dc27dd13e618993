"""What a stack has in Podman: its containers, networks and volumes are listed, created, started, stopped, removed.

The caller holds the session's lock. Everything may be repeated.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping

from stromboli import naming, pathwalk
from stromboli.apart import apart
from stromboli.attempt import containers
from stromboli.attempt.site import Site
from stromboli.errors import NoSpace, NotFound, PodmanError, ServiceFailed, Swapped, Unstartable
from stromboli.naming import Role
from stromboli.node import checked_start
from stromboli.plan.stack import names
from stromboli.plan.stack.blueprint import Blueprint, Planned, StackNetwork
from stromboli.plan.stack.sources import Identity
from stromboli.plan.stack.supervision import GRACE, Supervision
from stromboli.podman.container_state import ContainerState
from stromboli.podman.transport import Podman

log = logging.getLogger(__name__)

INTERNAL = 500  # the HTTP status of what Podman itself failed at
AGAIN = (0.0, 0.5, 2.0)  # seconds before each further try of a start that was refused
MOST_GRACE = 120  # seconds: the session's lock is held meanwhile, for which its deletion waits


class Parts:
    """The parts of this node's stacks."""

    def __init__(self, podman: Podman, site: Site) -> None:
        self.podman = podman
        self._site = site

    async def existing(self, uid: str) -> dict[Role, ContainerState]:
        """The containers of a session's stack by their roles. Raises PodmanError, PodmanUnavailable."""
        listed = await containers.of_session(self.podman, self._site, uid)
        found = await asyncio.gather(*(self.podman.containers.inspect(one.id) for one in listed))
        parts = {}
        for one in found:
            key = self._site.key_of(one.name, one.labels) if one is not None else None
            if one is not None and key is not None and names.is_part(key.role):
                parts[key.role] = one
        return parts

    async def are_running(self, *names: str) -> bool:
        """Whether all of these containers, by name or id, run. Raises PodmanError, PodmanUnavailable."""
        found = await asyncio.gather(*map(self.podman.containers.inspect, names))
        return all(one is not None and one.alive for one in found)

    async def prepare(self, blueprint: Blueprint) -> None:
        """Create the networks and volumes; from now on the session has a stack. Raises NoSpace, PodmanError,
        PodmanUnavailable.
        """
        uid = blueprint.session
        await asyncio.to_thread(self._site.folder(uid).note_stack)
        labels = self._site.owner_labels(uid)
        await asyncio.gather(
            *(self._network(uid, network) for network in blueprint.networks),
            *(
                self.podman.volumes.create(name, {**labels, naming.STACK_VOLUME: key})
                for name, key in blueprint.volumes.items()
            ),
        )

    async def _network(self, uid: str, network: StackNetwork) -> None:
        """Create a network. One that had a way out and has none now, or the other way round, is another one; nothing
        but the agent's container can still be on it.
        """
        found = await self.podman.networks.inspect(network.name)
        if found is not None and found.internal != network.internal:
            await self.remove_agent(uid)
            await self.podman.networks.remove(network.name)
        labels = {**self._site.owner_labels(uid), naming.STACK_NETWORK: network.key}
        await self.podman.networks.create(network.name, labels, internal=network.internal, dns=True)

    async def completed(self, uid: str) -> frozenset[str]:
        """The ids of the containers that have done their work. Raises OSError."""
        return await asyncio.to_thread(self._site.folder(uid).completed)

    async def note_completed(self, uid: str, container: str) -> None:
        """Remember that a container has done its work. Raises NoSpace, OSError."""
        await asyncio.to_thread(self._site.folder(uid).note_completed, container)

    async def create(self, planned: Planned) -> str:
        """Create a container; returns its id. Raises ServiceFailed, PodmanError, PodmanUnavailable."""
        created = await containers.create(self.podman, self._site, planned.key, planned.body)
        folder = planned.folder
        if folder is not None and await self.podman.archive.make_folder(created, folder) is None:
            what = f"cannot work in {folder}: something there is no folder"
            raise ServiceFailed(planned.service, f"services.{planned.service}.working_dir", what, "")
        return created

    async def start(self, container: str, binds: Mapping[str, Identity]) -> None:
        """Start a container that has exactly these files and folders of the node mounted, or not at all.

        Raises Swapped if it would have others, PodmanError, PodmanUnavailable.
        """
        target = await checked_start.start(self.podman, container, binds)
        if target is not None:
            raise Swapped(target, "what is to be mounted there was changed while the container was being started")

    async def start_planned(self, planned: Planned, container: str) -> str:
        """Start the container of a blueprint; returns its id. Raises as `start`.

        Podman may refuse a start for a reason that passes: it or a program that it needs for the networks was busy or
        killed. A container that is not running is started again then, a few times. One that has never run, and so has
        nothing to lose, is created once more before: the runtime may know it by a start in which Podman was killed,
        and refuse it for ever.
        """
        pauses = iter(AGAIN)
        while True:
            try:
                await self.start(container, planned.binds)
            except PodmanError as error:
                found = await self.podman.containers.inspect(container) if _may_pass(error) else None
                pause = next(pauses, None)
                if found is None or found.alive or pause is None:
                    raise
                log.warning("a start of the service %s is tried again: %s", planned.service, error)
            else:
                return container
            await asyncio.sleep(pause)
            if found.started_at is None:
                container = await self.create(planned)

    async def binds(self, container: str) -> dict[str, Identity]:
        """What a container that was created before has to have mounted: what is at its sources now, if no link leads
        there. Raises Swapped, NotFound, PodmanError, PodmanUnavailable.
        """
        found = await self.podman.containers.detail(container)
        if found is None:
            raise NotFound(f"the container {container} is gone", 404)
        sources = {one.destination: one.source for one in found.mounts if one.type == "bind"}
        return await apart(_identities, sources)

    async def stop(self, container: ContainerState) -> None:
        """Stop a container as its image or the file wants. Raises PodmanError, PodmanUnavailable."""
        try:
            grace = Supervision.from_label(container.labels[naming.SUPERVISION]).grace
        except (KeyError, ValueError):
            grace = GRACE
        seconds = min(round(grace), MOST_GRACE) if names.is_service(self._role(container)) else 0
        await self.podman.containers.stop(container.id, seconds)

    async def remove(self, container: ContainerState) -> None:
        """Remove a container. Raises PodmanError, PodmanUnavailable."""
        await self.podman.containers.remove(container.id)

    async def remove_agent(self, uid: str) -> None:
        """Remove the container of the session's agents. Raises PodmanError, PodmanUnavailable."""
        if (found := await containers.find(self.podman, self._site, naming.agent(uid))) is not None:
            await self.podman.containers.remove(found.id)

    def _role(self, container: ContainerState) -> Role:
        return Role(container.labels.get(naming.ROLE, ""))


def _may_pass(error: PodmanError) -> bool:
    """Whether a start that was refused may succeed a moment later. For room on a disk, the whole run waits."""
    return error.status >= INTERNAL and not isinstance(error, NotFound | NoSpace | Unstartable)


def _identities(sources: Mapping[str, str]) -> dict[str, Identity]:
    found = {}
    for target, source in sources.items():
        try:
            with pathwalk.walked(source) as place:
                if place.path != os.path.normpath(source):
                    raise Swapped(target, f"{source} is a link by now")
                found[target] = (place.info.st_dev, place.info.st_ino)
        except OSError as error:
            raise Swapped(target, f"{source} cannot be found any more ({error.strerror})") from error
    return found
