"""The states of one object as they come, whatever happens to the connection, over user.py's watches.

A state may be passed over: what counts is the last one. The objects of a list are followed by `changes`, one watch.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

from stromboli import bounds
from stromboli.errors import ApiRefused, ApiUnreachable
from stromboli.kube.user import Object, Resource, User

WATCH = 240.0  # seconds that one watch lasts
FIRST, LAST = 0.2, 5.0  # seconds before a connection that was lost is made again
_GONE = 410

Lost = Callable[[ApiUnreachable | ApiRefused], None]


def states(
    user: User,
    resource: Resource,
    namespace: str,
    name: str,
    *,
    until: float | None = None,
    known: bool = False,
    lost: Lost = lambda error: None,
) -> Generator[Object | None, None, None]:
    """Each state of the object of that name, from the present one; None while there is none, at first or once it is
    deleted. An object that takes the name afterwards has another UID.

    It ends at `until` (time.monotonic). A connection that is lost is made again, `lost` is called with the reason.
    Raises LocalFailure if the API server refuses a call, or if the first one fails and the object is not `known` from
    before.
    """
    seen: tuple[str, str] | None = None
    begun, pause = known, FIRST
    while until is None or time.monotonic() < until:
        try:
            listed = user.list(resource, namespace, fields=f"metadata.name={name}")
            begun, pause = True, FIRST
            for state in _watched(user, resource, namespace, name, listed.items, listed.version, until):
                if (now := _identity(state)) != seen:
                    seen = now
                    yield state
        except (ApiUnreachable, ApiRefused) as e:
            if until is not None and time.monotonic() >= until:
                return
            if isinstance(e, ApiRefused) and e.status == _GONE:
                continue
            if not begun or (isinstance(e, ApiRefused) and not e.is_transient):
                raise
            lost(e)
            time.sleep(pause if until is None else max(0.0, min(pause, until - time.monotonic())))
            pause = min(pause * 2, LAST)


def changes(
    user: User,
    resource: Resource,
    namespace: str | None,
    version: str,
    *,
    name: str = "",
    labels: str = "",
    fields: str = "",
    seconds: float = WATCH,
    accept: str = "",
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events of one watch from a version on: ADDED, MODIFIED or DELETED, and the object. It ends after so many
    seconds. Raises ApiRefused, with 410 if the version is too old, and ApiUnreachable.
    """
    query = {
        "resourceVersion": version,
        "labelSelector": labels,
        "fieldSelector": f"metadata.name={name}" if name else fields,
    }
    with user.watch(resource, namespace, query, seconds=seconds, accept=accept) as stream:
        for line in stream.lines():
            try:
                event = bounds.json_document(line, bounds.ANSWER)
                kind, found = str(event["type"]), event["object"]
                if not isinstance(found, dict):
                    raise TypeError("not an object")
            except (ValueError, LookupError, TypeError) as e:
                raise ApiUnreachable(f"the API server's watch has an event that cannot be read: {e}") from e
            if kind == "ERROR":
                message = str(found.get("message") or json.dumps(found)[:200])
                code = found.get("code")
                status = code if isinstance(code, int) else 500
                raise ApiRefused(message, "", status, str(found.get("reason") or ""))
            if kind != "BOOKMARK":
                yield kind, found


def _watched(
    user: User,
    resource: Resource,
    namespace: str,
    name: str,
    items: list[Object],
    version: str,
    until: float | None,
) -> Iterator[Object | None]:
    yield items[0] if items else None
    seconds = WATCH if until is None else max(1.0, min(WATCH, until - time.monotonic()))
    for kind, found in changes(user, resource, namespace, version, name=name, seconds=seconds):
        yield None if kind == "DELETED" else found


def _identity(state: Object | None) -> tuple[str, str]:
    about = (state or {}).get("metadata") or {}
    return str(about.get("uid") or ""), str(about.get("resourceVersion") or "")
