"""Serves what a service of a run's stack has written: the log of its container, which Podman keeps.

A log has no offsets of its own: they count from the first byte that Podman has. It is begun anew when it is full
(podman/logs.py); whoever then asks with an offset beyond its end gets all of it. Called by steps.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, cast

from stromboli import naming
from stromboli.attempt import containers
from stromboli.attempt.given import SERVICES
from stromboli.attempt.site import Site
from stromboli.models.run import Run
from stromboli.naming import ContainerKey
from stromboli.perform.logs.asked import Answer, Asked, NoOutput, State
from stromboli.plan import outcome
from stromboli.plan.masking import Flow, Masks
from stromboli.plan.stack import names
from stromboli.podman.transport import Podman

CHECK = 1.0  # seconds between looks at whether the attempt is over


class ServiceLogs:
    """The logs of the stacks of this node."""

    def __init__(self, podman: Podman, site: Site, now: Callable[[], float] = time.time) -> None:
        self._podman = podman
        self._site = site
        self._now = now

    async def open(self, run: Run, number: int, asked: Asked, is_over: Callable[[], bool]) -> Answer:
        """What is asked for of a service, which is followed until `is_over`.

        Raises NoOutput, PodmanError, PodmanUnavailable.
        """
        key = names.container(run.session_uid, asked.service)
        container = await containers.find(self._podman, self._site, key)
        if container is None or container.labels.get(naming.SERVICE) != asked.service:
            raise NoOutput("invalid", await self._what_there_is(run, asked.service))
        secrets = await asyncio.to_thread(self._site.folder(run.session_uid).read_given, SERVICES)
        if not secrets.known:
            raise NoOutput("withheld", outcome.WITHHELD)
        begin = skipped = asked.offset
        if asked.offset or asked.since is not None:
            size = await self._size(key)
            if asked.since is not None:
                begin = max(begin, size - await self._size(key, self._now() - asked.since))
            skipped = begin if begin <= size else 0
        over = is_over()
        pieces = self._pieces(key, Masks(secrets), None if over or not asked.follow else is_over)
        state = State.ended if over else State.running
        return Answer(number, begin, state, _part(pieces, skipped, asked.limit))

    async def _what_there_is(self, run: Run, service: str) -> str:
        found = await containers.of_session(self._podman, self._site, run.session_uid)
        there = sorted({one.labels[naming.SERVICE] for one in found if naming.SERVICE in one.labels})
        said = f"it has {', '.join(there)}" if there else "it has none on the node"
        return f"the parameter `service` is {service[:64]!r}, which is no service of {run.name}; {said}"

    async def _size(self, key: ContainerKey, since: float | None = None) -> int:
        """Bytes of the log that there are."""
        async with self._podman.logs.whole(key.name, since=since) as pieces:
            return sum([len(piece) async for piece in pieces])

    async def _pieces(self, key: ContainerKey, masks: Masks, over: Callable[[], bool] | None) -> AsyncIterator[bytes]:
        flow = Flow(masks)
        async with (
            self._podman.logs.whole(key.name, follow=over is not None) as pieces,
            aclosing(cast(Any, pieces if over is None else _until(over, pieces))) as coming,
        ):
            async for piece in coming:
                yield flow.masked(piece)
        yield flow.masked(b"", last=True)


async def _part(pieces: AsyncIterator[bytes], skipped: int, limit: int | None) -> AsyncIterator[bytes]:
    """At most `limit` bytes after those that are skipped."""
    async with aclosing(cast(Any, pieces)) as coming:
        async for piece in coming:
            part = piece[skipped:]
            skipped = max(skipped - len(piece), 0)
            if limit is not None:
                part, limit = part[:limit], limit - len(part[:limit])
            if part:
                yield part
            if limit == 0:
                return


async def _until(over: Callable[[], bool], pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces until the end, or until it is over and none comes."""
    while True:
        coming = asyncio.ensure_future(anext(pieces, None))
        try:
            while not (await asyncio.wait([coming], timeout=CHECK))[0]:
                if over():
                    return
        finally:
            if not coming.done():
                coming.cancel()
                await asyncio.wait([coming])
        if (piece := coming.result()) is None:
            return
        yield piece
