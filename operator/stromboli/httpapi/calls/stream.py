"""GET and POST /run/stream: a run whose output comes as server-sent events, line by line as the CLI prints it.

    id: RUN/ATTEMPT/OFFSET
    data: a line of the CLI's, as it is

    event: done
    data: the run's outcome, as POST /run answers it

A comment comes while there is nothing to send. A connection that breaks off does not stop the run: a request with the
last id that came, in the header `Last-Event-ID`, continues it, whichever gateway it comes to.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import StreamingResponse

from stromboli.errors import ApiRefused, ApiUnreachable
from stromboli.httpapi import body, sse
from stromboli.httpapi.caller import Caller, CallerOf
from stromboli.httpapi.calls.runs import Key
from stromboli.httpapi.errors import Refusal, errors_of, refusal_of
from stromboli.httpapi.openapi import body_of
from stromboli.httpapi.running import following, launch
from stromboli.httpapi.running.answers import answered
from stromboli.httpapi.running.launch import Launched
from stromboli.httpapi.running.lines import Position, lines
from stromboli.httpapi.shapes.run import RunRequest, parse_run
from stromboli.httpapi.shapes.runquery import parameters, parse_query
from stromboli.kube.user import RUNS
from stromboli.naming import is_object_name

router = APIRouter(tags=["runs"])

_ID = re.compile(r"([^/]{1,253})/([0-9]{1,9})/([0-9]{1,15})")

LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", description="The last id that came: the run continues from there, none is created."),
]
_FIELDS = {
    "id": {"type": "string", "description": "The position after the line, for `Last-Event-ID`."},
    "event": {"type": "string", "description": "`done` or `error` for the last event; the others have none."},
    "data": {"type": "string", "description": "A line, or how the run has ended, as JSON."},
}
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The CLI's lines, then an event `done` or `error`.",
        "content": {sse.MEDIA: {"schema": {"type": "object", "properties": _FIELDS}}},
    }
}


@router.post(
    "/run/stream",
    summary="Run an agent, and read its output as it comes",
    response_class=StreamingResponse,
    responses={**_EVENTS, **errors_of(404, 408, 409)},
    openapi_extra=body_of(RunRequest),
)
async def post(
    request: Request, caller: CallerOf, idempotency_key: Key = None, last_event_id: LastEventId = None
) -> StreamingResponse:
    """A client that hangs up does not end the run."""
    wanted = parse_run(await body.read(request))
    return await _streamed(request, caller, wanted, launch.key_of(idempotency_key), last_event_id)


@router.get(
    "/run/stream",
    summary="The same, with the request in the query",
    response_class=StreamingResponse,
    responses={**_EVENTS, **errors_of(404, 408, 409)},
    openapi_extra={"parameters": parameters()},
)
async def get(
    request: Request, caller: CallerOf, idempotency_key: Key = None, last_event_id: LastEventId = None
) -> StreamingResponse:
    """For clients that can only GET, such as `EventSource`; the log of calls has no query."""
    wanted = parse_query(request.query_params.multi_items())
    return await _streamed(request, caller, wanted, launch.key_of(idempotency_key), last_event_id)


async def _streamed(
    request: Request, caller: Caller, wanted: RunRequest, key: str, last: str | None
) -> StreamingResponse:
    if last:
        launched, begin = await _continued(caller, last)
    else:
        launched, begin = await launch.launched(caller, wanted, key, request.is_disconnected), Position(1, 0)
    return sse.answer(_events(caller, launched, begin, wanted), "the run goes on")


async def _continued(caller: Caller, last: str) -> tuple[Launched, Position]:
    """The run and the position that an id stands for. Raises Refusal (400, 404), ApiRefused."""
    found = _ID.fullmatch(last)
    if found is None or not is_object_name(found[1]):
        raise Refusal(400, "the header `Last-Event-ID` is not the id of an event", details={"field": "Last-Event-ID"})
    run = await caller.cluster.get(RUNS, caller.namespace, found[1])
    return launch.of_object(run), Position(int(found[2]), int(found[3]))


async def _events(caller: Caller, run: Launched, begin: Position, wanted: RunRequest) -> AsyncGenerator[bytes, None]:
    yield sse.event({"id": f"{run.name}/{begin.attempt}/{begin.offset}"})
    try:
        async with aclosing(lines(caller, run, begin)) as found:
            async for line in found:
                at = f"{run.name}/{line.after.attempt}/{line.after.offset}"
                yield b"id: %s\ndata: %s\n\n" % (at.encode(), line.content.replace(b"\r", b""))
        answer = await answered(caller, run, await following.ended(caller, run), wanted)
        yield sse.event({"event": "done"}, answer.model_dump(mode="json", exclude_none=True))
    except (Refusal, ApiRefused, ApiUnreachable) as e:
        yield sse.event({"event": "error"}, refusal_of(e).answer().model_dump())
