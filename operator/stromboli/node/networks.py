"""The bridge networks of Kubernetes namespaces: one each, created for the first run there and removed after the last.

The sweep passes the namespaces that still have runs. Podman itself refuses to remove a network in use.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from stromboli import naming
from stromboli.errors import PodmanError
from stromboli.plan import ownership
from stromboli.podman.transport import Podman

log = logging.getLogger(__name__)

# Seconds for which a network stays after its last use, whatever the sweep knows: a container that is being created is
# not visible yet, and its run may be newer than the sweep's list.
FRESH = 60.0


class Networks:
    """The networks of one installation on this node."""

    def __init__(self, podman: Podman, installation: str) -> None:
        self._podman = podman
        self._installation = installation
        self._made: set[str] = set()
        self._asked: dict[str, float] = {}

    async def ensure(self, namespace: str) -> str:
        """Ensure a namespace's network; returns its name. Raises PodmanError, PodmanUnavailable."""
        name = naming.network(self._installation, namespace)
        self._asked[name] = time.monotonic()
        if name not in self._made:
            await self._podman.networks.create(name, {naming.INSTALLATION: self._installation})
            self._made.add(name)
        return name

    def forget(self) -> None:
        """Check the networks again, since a container failed to start and its network may have been removed."""
        self._made.clear()

    async def clear(self, namespaces: Iterable[str]) -> None:
        """Remove the networks of all namespaces but these. Raises PodmanError, PodmanUnavailable."""
        wanted = {naming.network(self._installation, namespace) for namespace in namespaces}
        for network in await self._podman.networks.list({naming.INSTALLATION: self._installation}):
            is_ours = ownership.is_network(network.name, network.labels, self._installation)
            if is_ours and network.name not in wanted and not self._is_fresh(network.name):
                await self._remove(network.name)
        for name in [name for name in self._asked if name not in wanted and not self._is_fresh(name)]:
            self._made.discard(name)
            del self._asked[name]

    async def _remove(self, name: str) -> None:
        self._made.discard(name)
        try:
            await self._podman.networks.remove(name)
        except PodmanError as error:
            log.warning("the network %s of a namespace without runs could not be removed: %s", name, error)

    def _is_fresh(self, name: str) -> bool:
        asked = self._asked.get(name)
        return asked is not None and time.monotonic() - asked < FRESH
