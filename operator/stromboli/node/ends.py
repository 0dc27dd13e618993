"""Waits for containers to end: one pending call to Podman for each, and a wake-up when it returns or fails.

Each container is watched separately, whatever its role: a session may have several, which end independently.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from stromboli.errors import NotFound, PodmanError, PodmanUnavailable
from stromboli.naming import ContainerKey
from stromboli.podman.transport import Podman
from stromboli.supervision import spawn

log = logging.getLogger(__name__)

OPENING = 2.0  # seconds to wait for an attach; it usually takes a few milliseconds

PAUSE = 0.5  # seconds before the wake-up after a failed watch: Podman may be refusing every call


@dataclass(frozen=True, slots=True)
class _Listener:
    """Listens to a container's output, whose end is the container's; `near` is set then."""

    task: asyncio.Task[None]
    near: asyncio.Event


class Ends:
    """Watches containers of sessions. However a watch ends, `wake` is called with the UID that it was given."""

    def __init__(self, podman: Podman, wake: Callable[[str], None]) -> None:
        self._podman = podman
        self._wake = wake
        self._tasks: dict[ContainerKey, asyncio.Task[None]] = {}
        self._listeners: dict[ContainerKey, _Listener] = {}

    async def listen(self, key: ContainerKey) -> None:
        """Call before a container's start, to notice its end at once instead of at Podman's next poll.

        Best effort: without it, `watch` notices the end some tens of milliseconds later.
        """
        if old := self._listeners.pop(key, None):
            old.task.cancel()
        opened, near = asyncio.Event(), asyncio.Event()
        task = spawn(self._listen(key.name, opened, near), f"output of {key.name}")
        self._listeners[key] = _Listener(task, near)
        try:
            async with asyncio.timeout(OPENING):
                await opened.wait()
        except TimeoutError:
            task.cancel()  # do not delay the start any further

    def watch(self, key: ContainerKey, woken: str, within: float) -> None:
        """Watch a container, once. The UID `woken` is also woken if it has not ended `within` seconds."""
        if key not in self._tasks:
            self._tasks[key] = spawn(self._wait(key, woken, within), f"end of {key.name}")

    def watched(self) -> list[ContainerKey]:
        """The containers that are watched."""
        return list(self._tasks)

    def forget(self, key: ContainerKey) -> None:
        """Stop watching, since the container is gone or its end is known."""
        if task := self._tasks.pop(key, None):
            task.cancel()
        if listener := self._listeners.pop(key, None):
            listener.task.cancel()

    async def close(self) -> None:
        tasks = [*self._tasks.values(), *(listener.task for listener in self._listeners.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _wait(self, key: ContainerKey, woken: str, within: float) -> None:
        runs_on = False
        try:
            listener = self._listeners.get(key)
            async with asyncio.timeout(within):
                await self._podman.containers.wait(key.name, hurry=listener.near if listener else None)
        except TimeoutError:
            runs_on = True
        except NotFound:
            log.info("container %s is gone", key.name)
        except (PodmanError, PodmanUnavailable) as error:
            log.info("watching container %s failed: %s", key.name, error)
            await asyncio.sleep(PAUSE)
        finally:
            if self._tasks.get(key) is asyncio.current_task():  # otherwise a newer watch has replaced it
                self._tasks.pop(key)
                if not runs_on:
                    self._listeners.pop(key, None)
            self._wake(woken)

    async def _listen(self, container: str, opened: asyncio.Event, near: asyncio.Event) -> None:
        try:
            async with self._podman.containers.attached(container) as chunks:
                opened.set()
                async for _ in chunks:  # the supervisor writes nothing there; an agent's output is discarded
                    pass
            near.set()
        except (PodmanError, PodmanUnavailable) as error:
            log.debug("cannot listen to the output of container %s: %s", container, error)
        finally:
            opened.set()
