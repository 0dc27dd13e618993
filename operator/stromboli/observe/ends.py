"""Waiting for containers to end: one open call to Podman each, and a wake-up when it answers or breaks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from stromboli.errors import NotFound, PodmanError, PodmanUnavailable
from stromboli.podman.transport import Podman

log = logging.getLogger(__name__)

PAUSE = 0.5  # seconds before the look after a watch that broke: Podman may be refusing one after the other


class Ends:
    """Watches containers; `wake` is called with the run's UID whichever way a watch ends."""

    def __init__(self, podman: Podman, wake: Callable[[str], None]) -> None:
        self._podman = podman
        self._wake = wake
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def watch(self, uid: str, container: str) -> None:
        """Watch a run's container, once."""
        if uid not in self._tasks:
            self._tasks[uid] = asyncio.create_task(self._wait(uid, container), name=f"end of {uid}")

    def forget(self, uid: str) -> None:
        """The container is gone, or its end is known: there is nothing to wait for any more."""
        if task := self._tasks.get(uid):
            task.cancel()

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _wait(self, uid: str, container: str) -> None:
        try:
            await self._podman.containers.wait(container)
        except NotFound:
            log.info("container %s is gone", container)
        except (PodmanError, PodmanUnavailable) as error:
            log.info("lost sight of container %s: %s", container, error)
            await asyncio.sleep(PAUSE)
        finally:
            self._tasks.pop(uid, None)
            self._wake(uid)
