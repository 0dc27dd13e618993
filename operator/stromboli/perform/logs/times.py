"""Notes, every few seconds, how far the outputs of running attempts have come, so that one can ask for the last ones.

A request for what was written in the last seconds gets up to EVERY seconds more, and up to SPARSE for an attempt that
has written for longer than DENSE.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stromboli.attempt import outputs, times
from stromboli.attempt.site import Site
from stromboli.heartbeat import beat
from stromboli.store import Store

log = logging.getLogger(__name__)

EVERY = 5.0  # seconds
SPARSE = 60.0
DENSE = 3600.0

_Ends = dict[str, int]


@dataclass(slots=True)
class _Noted:
    """When the first and the last line were written, and what the last one says."""

    first: float
    last: float
    ends: _Ends


class Times:
    """The times of this node's running attempts."""

    def __init__(self, store: Store, site: Site, node: str, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._site = site
        self._node = node
        self._now = now
        self._noted: dict[Path, _Noted] = {}

    async def run(self) -> None:
        """Note them for ever."""
        while True:
            beat()
            await asyncio.sleep(EVERY)
            await self.once()

    async def once(self) -> None:
        """Note what has changed."""
        running = {
            self._site.folder(run.session_uid).attempt(run.uid, run.status.attempts[-1].number)
            for run in self._store.unfinished()
            if run.status.attempts and run.status.node == self._node
        }
        self._noted = {attempt: noted for attempt, noted in self._noted.items() if attempt in running}
        for attempt in running:
            try:
                await asyncio.to_thread(self._note, attempt)
            except OSError as error:
                log.warning("the times of an output cannot be noted: %s: %s", attempt, error.strerror)

    def _note(self, attempt: Path) -> None:
        now, noted = self._now(), self._noted.get(attempt)
        ends = {name: _end(attempt / "out", name) for name in times.NAMES}
        if ends == (noted.ends if noted is not None else dict.fromkeys(times.NAMES, 0)):
            return
        if noted is None:
            noted = self._noted[attempt] = _Noted(now, now, ends)
        elif now - noted.first > DENSE and 0 <= now - noted.last < SPARSE:
            return
        times.note(attempt, now, ends)
        noted.last, noted.ends = now, ends


def _end(out: Path, name: str) -> int:
    with outputs.output(out, name) as found:
        return found.end
