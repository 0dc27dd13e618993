"""kopf's handlers: which object an event is about, and nothing more.

`on.event` handlers write nothing to the objects: no annotation, no finalizer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import kopf

from stromboli.naming import GROUP, VERSION
from stromboli.status.run import is_being_deleted, is_finished
from stromboli.store import Store

# Seconds between two tries of a watch. kopf gives up on a server that refuses (403, 5xx) once they are through, and
# with it the operator ends: an hour is time enough to mend an API server.
BACKOFFS = (0.5, 1.0, 2.0, *[3.0] * 1200)


def register(
    store: Store, wake: Callable[[str], None], wake_all: Callable[[], None], ending: Callable[[], Awaitable[None]]
) -> kopf.OperatorRegistry:
    """The registry with all watches of the operator; `ending` is called when it has been told to end."""
    registry = kopf.OperatorRegistry()

    @kopf.on.startup(registry=registry)
    async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        settings.watching.reconnect_backoff = 1.0
        settings.networking.error_backoffs = BACKOFFS
        settings.queueing.idle_timeout = 1.0
        settings.scanning.disabled = True

    @kopf.on.cleanup(registry=registry)
    async def on_end(**_: Any) -> None:
        await ending()

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.event(GROUP, VERSION, "agentruns", registry=registry)
    async def on_run(event: kopf.RawEvent, **_: Any) -> None:
        take(store, wake, event["type"], dict(event["object"]))

    @kopf.on.event(GROUP, VERSION, "agentpolicies", registry=registry)
    async def on_policy(**_: Any) -> None:
        wake_all()

    return registry


def take(store: Store, wake: Callable[[str], None], how: str | None, obj: dict[str, Any]) -> None:
    """One event about a run: remember what it says, and have the run looked at."""
    uid = obj["metadata"]["uid"]
    if how == "DELETED" or is_being_deleted(obj):
        store.delete(uid)
        wake(uid)
    elif not is_finished(obj.get("status") or {}):
        store.put(obj)
        wake(uid)
