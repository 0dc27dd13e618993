"""Kills containers whose agent fills the node's disk through the folder for its records.

That folder is on the node, outside the container, so Podman's limits do not apply. It is checked every few seconds, at
the cost of a directory listing per container; what an agent writes in between is removed with the rest.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from stromboli import naming
from stromboli.attempt import usage
from stromboli.attempt.site import Site
from stromboli.errors import PodmanError, PodmanUnavailable
from stromboli.heartbeat import beat
from stromboli.naming import ContainerKey
from stromboli.podman.transport import Podman

log = logging.getLogger(__name__)

EVERY = 2.0  # seconds


class Guard:
    """Guards this node's disk; `watched` returns the containers that are running. Only agents' have records."""

    def __init__(self, podman: Podman, site: Site, watched: Callable[[], Iterable[ContainerKey]]) -> None:
        self._podman = podman
        self._site = site
        self._watched = watched

    async def run(self) -> None:
        """Check all of them every EVERY seconds, forever."""
        while True:
            beat()
            await asyncio.sleep(EVERY)
            await self.once()

    async def once(self) -> None:
        """Check all of them once. A killed container is judged like any other end: see plan/outcome.py."""
        for key in [key for key in self._watched() if key.role == naming.AGENT]:
            out = self._site.folder(key.session).link("attempt") / "out"
            if not await asyncio.to_thread(usage.is_too_large, out):
                continue
            log.warning("killing container %s, which has written too much into %s", key.name, out)
            try:
                await self._podman.containers.kill(key.name)
            except (PodmanError, PodmanUnavailable) as error:
                log.warning("container %s could not be killed: %s", key.name, error)
