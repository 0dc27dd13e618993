"""Notices when a watched container is removed, through Podman's events.

Podman's own `wait` never returns after another process has removed its container (seen on 4.3.1). A broken event stream
is reopened from the time at which the last one was opened; the sweep finds what was missed even so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

from stromboli import naming
from stromboli.backoff import backoff
from stromboli.errors import PodmanError, PodmanUnavailable
from stromboli.naming import ContainerKey
from stromboli.plan import ownership
from stromboli.podman.transport import Podman

log = logging.getLogger(__name__)

OVERLAP = timedelta(seconds=1)  # duplicate events are harmless


class Removals:
    """Calls `gone` for each container of a session that was removed, by us or by anyone else."""

    def __init__(self, podman: Podman, installation: str, gone: Callable[[ContainerKey], None]) -> None:
        self._podman = podman
        self._installation = installation
        self._gone = gone

    async def follow(self) -> None:
        """Follow the events, reconnecting with backoff, for as long as the operator runs."""
        since, failures = datetime.now(UTC), 0
        while True:
            began = datetime.now(UTC) - OVERLAP
            try:
                await self._stream(since)
            except (PodmanError, PodmanUnavailable) as error:
                log.info("Podman's events are unavailable: %s", error)
            lasted = datetime.now(UTC) - began
            failures = 0 if lasted > timedelta(seconds=backoff(failures) * 2) else failures + 1
            since = began
            await asyncio.sleep(backoff(failures))

    async def _stream(self, since: datetime) -> None:
        labels = {naming.INSTALLATION: self._installation}
        stream = self._podman.events.stream(types=["container"], labels=labels, actions=["remove"], since=since)
        async with aclosing(stream) as events:
            async for event in events:
                if key := ownership.container_key(event.name, event.attributes, self._installation):
                    self._gone(key)
