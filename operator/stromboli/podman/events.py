"""Podman's event stream, typed. Reconnecting, and catching up on missed events, is up to the caller."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime

from stromboli.errors import PodmanUnavailable
from stromboli.podman.connection import LONGEST, Connection
from stromboli.podman.failures import answer, reading


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `attributes` are Podman's (`name`, `image`, …) merged with the object's labels.

    `exit_code` is set only for a container's `died`.
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
        """Yield events as they arrive, without end: raises PodmanUnavailable when the stream ends for any reason.

        Use it with `contextlib.aclosing`, which closes the connection.

        Podman sends its headers with the first event, so the caller cannot tell when the stream is open: pass `since`
        (a time before its own list call) to miss nothing. Image events carry no labels, so a label filter drops all
        of them. Podman polls its event file every 250 ms, which delays events by up to that.
        """
        params = {"stream": "true", "filters": _filters(types, labels or {}, actions)}
        if since is not None:
            params["since"] = f"{since.timestamp():.6f}"
        call = self._connection.stream("GET", "/events", params=params)
        async with call as response, aclosing(response.lines(LONGEST)) as lines:
            async for line in lines:
                if line.strip():
                    yield _event(line)
        raise PodmanUnavailable("Podman closed its event stream")


def _filters(types: Sequence[str], labels: Mapping[str, str], actions: Sequence[str]) -> str:
    filters = {
        "type": list(types),
        "label": [f"{key}={value}" for key, value in labels.items()],
        "event": list(actions),
    }
    return json.dumps({key: values for key, values in filters.items() if values})


def _event(line: bytes | str) -> Event:
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
