"""Ends containers whose agent fills the node's disk by the folder that its records are in.

That folder is the node's, not the container's, so that no limit of Podman's holds there. It is looked at every few
seconds, which costs a directory listing for each container; what an agent writes in between is removed with the rest.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from stromboli import naming
from stromboli.attempt import tidy
from stromboli.attempt.site import Site
from stromboli.errors import PodmanError, PodmanUnavailable
from stromboli.podman.transport import Podman

log = logging.getLogger(__name__)

EVERY = 2.0  # seconds


class Guard:
    """Of this node's disk; `watched` gives the UIDs of the sessions whose containers run."""

    def __init__(self, podman: Podman, site: Site, watched: Callable[[], Iterable[str]]) -> None:
        self._podman = podman
        self._site = site
        self._watched = watched

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(EVERY)
            await self.once()

    async def once(self) -> None:
        """Look at all of them. What ends there is judged as every other end: see plan/outcome.py."""
        for session in tuple(self._watched()):
            out = self._site.folder(session).link("attempt") / "out"
            if not await asyncio.to_thread(tidy.is_too_large, out):
                continue
            container = naming.container(session)
            log.warning("container %s has written too much into %s, and is killed", container, out)
            try:
                await self._podman.containers.kill(container)
            except (PodmanError, PodmanUnavailable) as error:
                log.warning("container %s could not be killed: %s", container, error)
