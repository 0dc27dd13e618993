"""GET and POST /run/stream: a run whose output comes as server-sent events, line by line as the CLI prints it.

    id: RUN/ATTEMPT/OFFSET
    data: a line of the CLI's, as it is

    event: done
    data: the run's outcome, as POST /run answers it

A comment comes while there is nothing to send. A connection that breaks off does not stop the run: a request with the
last id that came, in the header `Last-Event-ID`, continues it, whichever gateway it comes to.
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import StreamingResponse

from stromboli.errors import ApiRefused, ApiUnreachable
from stromboli.httpapi import body
from stromboli.httpapi.caller import Caller, CallerOf
from stromboli.httpapi.calls.runs import Key
from stromboli.httpapi.errors import Refusal, errors_of, of_api
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

BEAT = 15.0  # seconds without a line after which a comment is sent: proxies end what is silent
_AHEAD = 64  # lines that are read before they are sent
_ID = re.compile(r"([^/]{1,253})/([0-9]{1,9})/([0-9]{1,15})")

LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", description="The last id that came: the run continues from there, none is created."),
]
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The CLI's lines, then an event `done` or `error`.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


@router.post(
    "/run/stream",
    summary="Run an agent, and read its output as it comes",
    response_class=StreamingResponse,
    responses={**_EVENTS, **errors_of(404, 409)},
    openapi_extra=body_of(RunRequest),
)
async def post(
    request: Request, caller: CallerOf, idempotency_key: Key = None, last_event_id: LastEventId = None
) -> StreamingResponse:
    """A client that hangs up does not end the run."""
    wanted = parse_run(await body.read(request))
    return await _streamed(caller, wanted, launch.key_of(idempotency_key), last_event_id)


@router.get(
    "/run/stream",
    summary="The same, with the request in the query",
    response_class=StreamingResponse,
    responses={**_EVENTS, **errors_of(404, 409)},
    openapi_extra={"parameters": parameters()},
)
async def get(
    request: Request, caller: CallerOf, idempotency_key: Key = None, last_event_id: LastEventId = None
) -> StreamingResponse:
    """For clients that can only GET, such as `EventSource`; the log of calls has no query."""
    wanted = parse_query(request.query_params.multi_items())
    return await _streamed(caller, wanted, launch.key_of(idempotency_key), last_event_id)


async def _streamed(caller: Caller, wanted: RunRequest, key: str, last: str | None) -> StreamingResponse:
    if last:
        launched, begin = await _continued(caller, last)
    else:
        launched, begin = await launch.launched(caller, wanted, key), Position(1, 0)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}
    return StreamingResponse(
        _with_beats(_events(caller, launched, begin, wanted)), media_type="text/event-stream", headers=headers
    )


async def _continued(caller: Caller, last: str) -> tuple[Launched, Position]:
    """The run and the position that an id stands for. Raises Refusal (400, 404), ApiRefused."""
    found = _ID.fullmatch(last)
    if found is None or not is_object_name(found[1]):
        raise Refusal(400, "the header `Last-Event-ID` is not the id of an event", details={"field": "Last-Event-ID"})
    run = await caller.cluster.get(RUNS, caller.namespace, found[1])
    return launch.of_object(run), Position(int(found[2]), int(found[3]))


async def _events(caller: Caller, run: Launched, begin: Position, wanted: RunRequest) -> AsyncGenerator[bytes, None]:
    yield _event({"id": f"{run.name}/{begin.attempt}/{begin.offset}"})
    try:
        async with aclosing(lines(caller, run, begin)) as found:
            async for line in found:
                at = f"{run.name}/{line.after.attempt}/{line.after.offset}"
                yield b"id: %s\ndata: %s\n\n" % (at.encode(), line.content.replace(b"\r", b""))
        answer = await answered(caller, run, await following.ended(caller, run), wanted)
        yield _event({"event": "done"}, answer.model_dump(mode="json", exclude_none=True))
    except (Refusal, ApiRefused, ApiUnreachable) as e:
        refusal = e if isinstance(e, Refusal) else of_api(e)
        yield _event({"event": "error"}, refusal.answer().model_dump())


def _event(fields: Mapping[str, str], data: Any = None) -> bytes:
    written = "".join(f"{name}: {value}\n" for name, value in fields.items())
    if data is not None:
        written += f"data: {json.dumps(data, ensure_ascii=False)}\n"
    return f"{written}\n".encode("utf-8", "replace")


async def _with_beats(events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The events, and a comment whenever there was none for a while."""
    queue: asyncio.Queue[bytes | None] = asyncio.Queue(_AHEAD)

    async def read() -> None:
        async with aclosing(events) as found:
            async for event in found:
                await queue.put(event)
        await queue.put(None)

    reading = asyncio.ensure_future(read())
    try:
        while True:
            try:
                event = await asyncio.wait_for(queue.get(), BEAT)
            except TimeoutError:
                event = b": the run goes on\n\n"
            if event is None:
                break
            yield event
            if reading.done() and queue.empty():
                reading.result()
    finally:
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
