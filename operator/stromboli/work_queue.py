"""A work queue with one task per key: a wake-up runs a pass, which returns when to run the next. Unaware of runs.

Wake-ups during a pass are coalesced into one more pass, so no event is lost; passes of a key never overlap. A pass that
fails is retried with backoff.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from stromboli.backoff import backoff
from stromboli.errors import StromboliError
from stromboli.supervision import set_within, spawn

log = logging.getLogger(__name__)

# A pass returns the seconds until the next one, or None for "only when woken".
Work = Callable[[str], Awaitable[float | None]]


class WorkQueue:
    """Runs `work` for each key that was woken, one pass at a time per key."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._woken: dict[str, asyncio.Event] = {}
        self._began: dict[str, float] = {}  # when the pass began that is under way
        self._closed = False

    def longest(self) -> tuple[str, float] | None:
        """The key whose pass has been under way for the longest time, and for how many seconds."""
        if not self._began:
            return None
        key = min(self._began, key=lambda key: self._began[key])
        return key, time.monotonic() - self._began[key]

    def __len__(self) -> int:
        return len(self._tasks)

    def wake(self, key: str) -> None:
        """Schedule a pass of `key`, because something about it has changed. No effect once the queue is closed."""
        if self._closed:
            return
        if key not in self._tasks:
            self._woken[key] = asyncio.Event()
            self._tasks[key] = spawn(self._serve(key), f"run {key}")
        self._woken[key].set()

    def wake_all(self) -> None:
        """Schedule a pass of every key that has a task, because something shared has changed. Starts no new tasks."""
        for event in self._woken.values():
            event.set()

    async def close(self) -> None:
        """Cancel all passes; the next start of the operator resumes what they left unfinished."""
        self._closed = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, key: str) -> None:
        event = self._woken[key]
        failures = 0
        try:
            while True:
                event.clear()
                delay, failures = await self._pass(key, failures)
                if not event.is_set() and delay is None:
                    return
                await set_within(event, delay)
        finally:
            self._tasks.pop(key, None)
            self._woken.pop(key, None)

    async def _pass(self, key: str, failures: int) -> tuple[float | None, int]:
        self._began[key] = time.monotonic()
        try:
            return await self._work(key), 0
        except StromboliError as e:
            log.warning("%s: %s; retrying in %.1f s", key, e, backoff(failures + 1))
        except Exception:  # a bug in one object's pass must not stop the others'
            log.exception("%s: unexpected error; retrying in %.1f s", key, backoff(failures + 1))
        finally:
            del self._began[key]
        return backoff(failures + 1), failures + 1
