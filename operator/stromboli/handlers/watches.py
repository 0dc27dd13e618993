"""kopf's handlers: they pass on which object an event is about, and do nothing else.

`on.event` handlers write nothing to the objects: no annotation, no finalizer. Of runs and sessions, kopf lists and
watches only the metadata: a page or a backlog of whole ones could take any amount of memory.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import kopf

from stromboli.handlers.connection import login
from stromboli.health.watched import Watched
from stromboli.kube.objects import head
from stromboli.kube.plain import HEADS
from stromboli.models.objects import Object
from stromboli.naming import GROUP, VERSION
from stromboli.store import Store

# Seconds without a line of a watch after which it is begun anew. The API server sends a bookmark every minute.
INACTIVE = 70.0
CONNECT = 10.0
LIST = 60.0  # seconds for a page of a list


class Backoffs:
    """Seconds between two tries of a request, without end: as long as the API server refuses (403, 5xx), kopf goes on.

    kopf iterates over it anew for each request.
    """

    def __init__(self, first: Sequence[float], then: float) -> None:
        self._first = first
        self._then = then

    def __iter__(self) -> Iterator[float]:
        yield from self._first
        yield from itertools.repeat(self._then)


BACKOFFS = Backoffs((0.5, 1.0, 2.0), 3.0)


@dataclass(frozen=True, slots=True)
class Wakers:
    """The functions that an event wakes.

    `run`, `session` and `image` wake one object, `all` wakes every run and image, `policies` updates the statuses of
    all policies, and `ending` is called when the operator ends.
    """

    run: Callable[[str], None]
    all: Callable[[], None]
    session: Callable[[Object], None]
    image: Callable[[Object], None]
    policies: Callable[[], None]
    ending: Callable[[], Awaitable[None]]


def register(store: Store, wakers: Wakers, ending: asyncio.Event, watched: Watched) -> kopf.OperatorRegistry:
    """The registry with all watches of the operator.

    `ending` is set when kopf begins to end, for any reason. `watched` is told what the watches hear.
    """
    registry = kopf.OperatorRegistry()
    generations: dict[str, int] = {}

    @kopf.on.startup(registry=registry)
    async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        settings.watching.reconnect_backoff = 1.0
        settings.watching.inactivity_timeout = INACTIVE
        settings.networking.error_backoffs = BACKOFFS
        settings.networking.connect_timeout = CONNECT
        settings.networking.request_timeout = LIST
        settings.watching.chunk_size = HEADS
        settings.queueing.idle_timeout = 0.2  # for which kopf holds on to an object's last event
        settings.scanning.disabled = True

    @kopf.on.cleanup(registry=registry)
    async def on_end(**_: Any) -> None:
        ending.set()
        await wakers.ending()

    @kopf.on.login(registry=registry)
    async def on_login(**kwargs: Any) -> kopf.AiohttpSession | None:
        return await login(watched, **kwargs)

    @kopf.on.event(GROUP, VERSION, "agentruns", registry=registry)
    async def on_run(event: kopf.RawEvent, **_: Any) -> None:
        take(store, wakers, event["type"], head(event["object"]["metadata"]))

    @kopf.on.event(GROUP, VERSION, "agentsessions", registry=registry)
    async def on_session(event: kopf.RawEvent, **_: Any) -> None:
        take_session(store, wakers, event["type"], head(event["object"]["metadata"]))

    @kopf.on.event(GROUP, VERSION, "agentimages", registry=registry)
    async def on_image(event: kopf.RawEvent, **_: Any) -> None:
        wakers.image(head(event["object"]["metadata"]))

    @kopf.on.event(GROUP, VERSION, "agentpolicies", registry=registry)
    async def on_policy(event: kopf.RawEvent, **_: Any) -> None:
        take_policy(generations, wakers, event["type"], head(event["object"]["metadata"]))

    return registry


def take_policy(generations: dict[str, int], wakers: Wakers, how: str | None, policy: Object) -> None:
    """One event about a policy: update all policies' statuses, and wake all runs if its spec has changed.

    `generations` has the last generation of each policy, which the operator's own status writes do not change.
    """
    wakers.policies()
    if how == "DELETED":
        generations.pop(policy.uid, None)
        wakers.all()
    elif generations.get(policy.uid) != policy.generation:
        generations[policy.uid] = policy.generation
        wakers.all()


def take(store: Store, wakers: Wakers, how: str | None, run: Object) -> None:
    """One event about a run: record the version, and wake the run."""
    if how == "DELETED" or run.is_being_deleted:
        store.delete(run.uid)
        wakers.run(run.uid)
    elif store.report(run):  # otherwise the watch reports our own write
        wakers.run(run.uid)


def take_session(store: Store, wakers: Wakers, how: str | None, session: Object) -> None:
    """One event about a session: wake it, and the next run in its queue.

    A deleted session is cleaned up like a deleted run: what has its UID on the node is removed. All runs that need the
    session are woken then, including the one that has lost it.
    """
    if how == "DELETED" or session.is_being_deleted:
        store.delete(session.uid)
        wakers.run(session.uid)
        for place in store.queue(session.namespace, session.name):
            wakers.run(place.uid)
    else:
        wakers.session(session)
        store.wake_next(session.namespace, session.name)
