"""A session's containers in Podman: one of them, those in the roles that there are, or all whatever their roles.

Only those that are ours by name and labels (plan/ownership.py) are returned. What is done with them is up to the
caller, who holds the session's lock if that changes anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from stromboli import naming
from stromboli.attempt.site import Site
from stromboli.errors import PodmanError
from stromboli.naming import ContainerKey
from stromboli.podman.container_state import ContainerState
from stromboli.podman.containers import ContainerSummary
from stromboli.podman.transport import Podman


async def find(podman: Podman, site: Site, key: ContainerKey) -> ContainerState | None:
    """This container; None also if one of its name is not ours. Raises PodmanError, PodmanUnavailable."""
    found = await podman.containers.inspect(key.name)
    return found if found is not None and site.key_of(found.name, found.labels) == key else None


async def by_name(podman: Podman, site: Site, uid: str) -> list[ContainerState]:
    """A session's containers in the roles that there are. Raises PodmanError, PodmanUnavailable.

    However many containers are on the node, Podman reads the configuration of these only.
    """
    found = await asyncio.gather(*(find(podman, site, ContainerKey(uid, role)) for role in naming.ROLES))
    return [container for container in found if container is not None]


async def of_session(podman: Podman, site: Site, uid: str) -> list[ContainerSummary]:
    """All containers of a session, running or not. Raises PodmanError, PodmanUnavailable.

    Podman reads the configuration of every container on the node for this (0.2 ms each with 4.3.1).
    """
    found = await podman.containers.list(site.owner_labels(uid))
    return [container for container in found if site.key_of(container.name, container.labels) is not None]


async def create(podman: Podman, site: Site, key: ContainerKey, body: Mapping[str, object]) -> str:
    """Create this container, instead of one of its name that has not been started or has ended; returns its id.

    If its name is taken, Podman answers 500: then it is checked whose it is. Raises PodmanError, PodmanUnavailable.
    """
    try:
        return await podman.containers.create(body)
    except PodmanError as error:
        found = await podman.containers.inspect(key.name)
        if found is None or found.alive:
            raise
        if site.key_of(found.name, found.labels) != key:
            raise PodmanError(f"another container is named {key.name}; remove it", error.status) from error
        # Without force: if it is running by now, since a killed operator had already requested that, it stays.
        await podman.containers.remove(found.id, force=False)
        return await podman.containers.create(body)
