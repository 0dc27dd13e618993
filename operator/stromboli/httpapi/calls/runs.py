"""POST /run and POST /run/async: an AgentRun, whose end the first one waits for."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse

from stromboli.httpapi import body
from stromboli.httpapi.caller import CallerOf
from stromboli.httpapi.errors import GONE, STOPPED, Refusal, errors_of
from stromboli.httpapi.openapi import body_of
from stromboli.httpapi.running import following, launch
from stromboli.httpapi.running.answers import answered
from stromboli.httpapi.running.launch import Launched
from stromboli.httpapi.shapes.run import AsyncAnswer, RunAnswer, RunRequest, parse_run

router = APIRouter(tags=["runs"])

Key = Annotated[
    str | None,
    Header(
        alias=launch.KEY,
        description="A repeated request with the same key, from the same user in the same namespace, finds the first "
        "one's run instead of creating another.",
    ),
]
Cancel = Annotated[bool, Query(description="Cancel the run if the client hangs up before it has ended.")]


@router.post(
    "/run",
    summary="Run an agent, and wait for its end",
    response_model=RunAnswer,
    response_model_exclude_none=True,
    responses=errors_of(404, 408, 409, 502),
    openapi_extra=body_of(RunRequest),
)
async def run(
    request: Request, caller: CallerOf, idempotency_key: Key = None, cancel_on_disconnect: Cancel = False
) -> Response:
    """A client that hangs up does not end the run: it is a job of `GET /jobs` like any other."""
    wanted = parse_run(await body.read(request))
    launched = await launch.launched(caller, wanted, launch.key_of(idempotency_key), request.is_disconnected)
    try:
        ended = await body.unless_gone(request, following.ended(caller, launched))
        if ended is not None:
            answer = await answered(caller, launched, ended, wanted)
            return JSONResponse(answer.model_dump(mode="json", exclude_none=True))
    except asyncio.CancelledError as e:
        raise _stopped(launched) from e
    if cancel_on_disconnect:
        await following.cancel(caller, launched)
    return Response(status_code=GONE)


def _stopped(run: Launched) -> Refusal:
    """No 5xx, which clients would repeat: the prompt may have been sent."""
    said = f"the gateway has stopped; the run {run.name} goes on, and GET /jobs/{run.name} has its end"
    details = {"id": run.name, "session_id": run.session}
    return Refusal(408, f"{said}, as has the same request if it had the header `{launch.KEY}`", STOPPED, details)


@router.post(
    "/run/async",
    status_code=202,
    summary="Start a run",
    response_model=AsyncAnswer,
    response_model_exclude_none=True,
    responses=errors_of(404, 408, 409),
    openapi_extra=body_of(RunRequest),
)
async def run_async(request: Request, caller: CallerOf, idempotency_key: Key = None) -> AsyncAnswer:
    """Its end is in `GET /jobs/{id}`, and posted to `webhook_url`, if there is one."""
    wanted = parse_run(await body.read(request), webhook=True)
    launched = await launch.launched(caller, wanted, launch.key_of(idempotency_key), request.is_disconnected)
    return AsyncAnswer(job_id=launched.name, session_id=launched.session or None)
