"""Waits for containers to end: one pending call to Podman for each, and a wake-up when it returns or fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from stromboli.errors import NotFound, PodmanError, PodmanUnavailable
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
    """Watches containers, by session UID. However a watch ends, `wake` is called with the UID of the run in the
    container.
    """

    def __init__(self, podman: Podman, wake: Callable[[str], None]) -> None:
        self._podman = podman
        self._wake = wake
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._listeners: dict[str, _Listener] = {}

    async def listen(self, session: str, container: str) -> None:
        """Call before a container's start, to notice its end at once instead of at Podman's next poll.

        Best effort: without it, `watch` notices the end some tens of milliseconds later.
        """
        if old := self._listeners.pop(session, None):
            old.task.cancel()
        opened, near = asyncio.Event(), asyncio.Event()
        task = spawn(self._listen(container, opened, near), f"output of {session}")
        self._listeners[session] = _Listener(task, near)
        try:
            async with asyncio.timeout(OPENING):
                await opened.wait()
        except TimeoutError:
            task.cancel()  # do not delay the start any further

    def watch(self, session: str, container: str, run: str, within: float) -> None:
        """Watch a run's container, once per session. The run is also woken if it has not ended `within` seconds."""
        if session not in self._tasks:
            task = spawn(self._wait(session, container, run, within), f"end of {session}")
            self._tasks[session] = task

    def watched(self) -> list[str]:
        """UIDs of the sessions whose containers are watched."""
        return list(self._tasks)

    def forget(self, session: str) -> None:
        """Stop watching, since the container is gone or its end is known."""
        if task := self._tasks.pop(session, None):
            task.cancel()
        if listener := self._listeners.pop(session, None):
            listener.task.cancel()

    async def close(self) -> None:
        tasks = [*self._tasks.values(), *(listener.task for listener in self._listeners.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _wait(self, session: str, container: str, run: str, within: float) -> None:
        runs_on = False
        try:
            listener = self._listeners.get(session)
            async with asyncio.timeout(within):
                await self._podman.containers.wait(container, hurry=listener.near if listener else None)
        except TimeoutError:
            runs_on = True
        except NotFound:
            log.info("container %s is gone", container)
        except (PodmanError, PodmanUnavailable) as error:
            log.info("watching container %s failed: %s", container, error)
            await asyncio.sleep(PAUSE)
        finally:
            if self._tasks.get(session) is asyncio.current_task():  # otherwise a newer watch has replaced it
                self._tasks.pop(session)
                if not runs_on:
                    self._listeners.pop(session, None)
            self._wake(run)

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
