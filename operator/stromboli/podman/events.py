"""Podman's event stream, typed. Connecting again, and looking at what happened meanwhile, is the caller's."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from stromboli.errors import PodmanUnavailable
from stromboli.podman.connection import Connection
from stromboli.podman.failures import answer, reading


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `attributes` are Podman's (`name`, `image`, …) together with the object's labels.

    `exit_code` is there with a container's `died` only.
    """

    type: str  # container | image | volume | pod | system
    action: str  # create | start | died | remove | pull | untag | …
    id: str
    name: str
    attributes: Mapping[str, str]
    exit_code: int | None
    at: datetime


class Events:
    """The events of one Podman."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def stream(
        self,
        *,
        types: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        actions: Sequence[str] = (),
        since: datetime | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Events as they come, for ever: a stream that ends raises PodmanUnavailable, whatever ended it.

        Use it under `contextlib.aclosing`, which closes the connection.

        Podman's headers come with the first event, so nothing tells that the stream is open: give `since` (a moment
        before the caller's own list) to miss nothing. Images bear no labels here: a filter by labels leaves all of
        theirs out. Podman's event file is looked at every 250 ms, so an event is late by up to that.
        """
        params = {"stream": "true", "filters": _filters(types, labels or {}, actions)}
        if since is not None:
            params["since"] = f"{since.timestamp():.6f}"
        async with self._connection.stream("GET", "/events", params=params) as response:
            async for line in response.aiter_lines():
                if line.strip():
                    yield _event(line)
        raise PodmanUnavailable("Podman ended its stream of events")


def _filters(types: Sequence[str], labels: Mapping[str, str], actions: Sequence[str]) -> str:
    filters = {
        "type": list(types),
        "label": [f"{key}={value}" for key, value in labels.items()],
        "event": list(actions),
    }
    return json.dumps({key: values for key, values in filters.items() if values})


def _event(line: str) -> Event:
    with reading("an event"):
        entry = answer(line)
        attributes = {str(k): str(v) for k, v in (entry["Actor"].get("Attributes") or {}).items()}
        code = attributes.get("containerExitCode")
        return Event(
            type=entry["Type"],
            action=entry["Action"],
            id=entry["Actor"]["ID"],
            name=attributes.get("name", ""),
            attributes=attributes,
            exit_code=int(code) if code is not None and entry["Action"] == "died" else None,
            at=datetime.fromtimestamp(entry["timeNano"] / 1e9, tz=UTC),
        )
