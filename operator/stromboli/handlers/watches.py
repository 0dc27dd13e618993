"""kopf's handlers: which object an event is about, and nothing more.

`on.event` handlers write nothing to the objects: no annotation, no finalizer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import kopf

from stromboli.handlers.connection import login
from stromboli.naming import GROUP, VERSION
from stromboli.status.run import is_being_deleted, is_finished
from stromboli.status.session import holder_of
from stromboli.store import Store

# Seconds between two tries of a watch. kopf gives up on a server that refuses (403, 5xx) once they are through, and
# with it the operator ends: an hour is time enough to mend an API server.
BACKOFFS = (0.5, 1.0, 2.0, *[3.0] * 1200)


@dataclass(frozen=True, slots=True)
class Wakers:
    """Who is woken by what.

    `session` looks after a session's object, `policies` after the statuses of all policies; `ending` is called at the
    operator's end.
    """

    run: Callable[[str], None]
    all: Callable[[], None]
    session: Callable[[Mapping[str, Any]], None]
    policies: Callable[[], None]
    ending: Callable[[], Awaitable[None]]


def register(store: Store, wakers: Wakers) -> kopf.OperatorRegistry:
    """The registry with all watches of the operator."""
    registry = kopf.OperatorRegistry()
    generations: dict[str, int] = {}

    @kopf.on.startup(registry=registry)
    async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        settings.watching.reconnect_backoff = 1.0
        settings.networking.error_backoffs = BACKOFFS
        settings.queueing.idle_timeout = 1.0
        settings.scanning.disabled = True

    @kopf.on.cleanup(registry=registry)
    async def on_end(**_: Any) -> None:
        await wakers.ending()

    @kopf.on.login(registry=registry)
    async def on_login(**kwargs: Any) -> kopf.AiohttpSession | None:
        return await login(**kwargs)

    @kopf.on.event(GROUP, VERSION, "agentruns", registry=registry)
    async def on_run(event: kopf.RawEvent, **_: Any) -> None:
        take(store, wakers, event["type"], dict(event["object"]))

    @kopf.on.event(GROUP, VERSION, "agentsessions", registry=registry)
    async def on_session(event: kopf.RawEvent, **_: Any) -> None:
        take_session(store, wakers, event["type"], dict(event["object"]))

    @kopf.on.event(GROUP, VERSION, "agentpolicies", registry=registry)
    async def on_policy(event: kopf.RawEvent, **_: Any) -> None:
        take_policy(generations, wakers, event["type"], dict(event["object"]))

    return registry


def take_policy(generations: dict[str, int], wakers: Wakers, how: str | None, obj: Mapping[str, Any]) -> None:
    """One event about a policy: all statuses are looked at, and all runs where it says something new.

    `generations` has what each policy was last seen to say; the operator's own writes change nothing of it.
    """
    meta = obj["metadata"]
    wakers.policies()
    if how == "DELETED":
        generations.pop(meta["uid"], None)
        wakers.all()
    elif generations.get(meta["uid"]) != meta.get("generation"):
        generations[meta["uid"]] = meta.get("generation", 0)
        wakers.all()


def take(store: Store, wakers: Wakers, how: str | None, obj: dict[str, Any]) -> None:
    """One event about a run: remember what it says, and have the run looked at."""
    uid = obj["metadata"]["uid"]
    if how == "DELETED" or is_being_deleted(obj):
        store.delete(uid)
        wakers.run(uid)
        _wake_next(store, wakers, obj)
    elif is_finished(obj.get("status") or {}):
        store.put(obj)
        _wake_next(store, wakers, obj)
    elif store.put(obj):  # else it is the echo of our own write
        wakers.run(uid)


def take_session(store: Store, wakers: Wakers, how: str | None, obj: dict[str, Any]) -> None:
    """One event about a session: those who want it are looked at, and so is the session.

    One that is deleted is for the node what a deleted run is: a UID whose things have to go.
    """
    meta = obj["metadata"]
    holder = holder_of(obj)
    if how == "DELETED" or is_being_deleted(obj):
        store.delete(meta["uid"])
        wakers.run(meta["uid"])
        holder = None  # its run is looked at as well: it has lost its session
    else:
        wakers.session(obj)
    _wake_queue(store, wakers, meta["namespace"], meta["name"], but=holder.uid if holder else None)


def _wake_next(store: Store, wakers: Wakers, run: dict[str, Any]) -> None:
    """A run wants no session any more: those behind it are looked at."""
    choice = run["spec"].get("session") or {}
    for name in filter(None, (choice.get("name"), choice.get("fork"))):
        _wake_queue(store, wakers, run["metadata"]["namespace"], name)


def _wake_queue(store: Store, wakers: Wakers, namespace: str, session: str, but: str | None = None) -> None:
    for uid in store.in_session(namespace, session):
        if uid != but:
            wakers.run(uid)
