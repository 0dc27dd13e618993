"""GET /health, /metrics and /claude/status."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from stromboli.httpapi.caller import CallerOf
from stromboli.httpapi.errors import errors_of
from stromboli.httpapi.health import Health
from stromboli.httpapi.shapes.system import ClaudeStatusAnswer, ComponentHealth, HealthAnswer
from stromboli.kube import readapi
from stromboli.kube.user import Resource
from stromboli.metrics import exposition
from stromboli.naming import AGENTS_GROUP, METRICS, VERSION

router = APIRouter(tags=["system"])

_CLAUDE_STATUS = Resource("claudestatus", AGENTS_GROUP, VERSION)
_TEXT = {"text/plain": {"schema": {"type": "string"}}}
_UNWELL = "A part that calls need does not work."


@router.get("/health", summary="How the server is", responses={503: {"model": HealthAnswer, "description": _UNWELL}})
async def health(request: Request, response: Response) -> HealthAnswer:
    """Needs no token."""
    state = request.app.state
    parts: Health = state.health
    problems = await parts.problems()
    components = [
        ComponentHealth(name=name, status="error" if problem else "ok", error=problem)
        for name, problem in problems.items()
    ]
    well = not any(problems.values())
    response.status_code = 200 if well else 503
    return HealthAnswer(
        status="ok" if well else "error",
        version=request.app.version,
        operator_version=state.operator_version,
        components=components,
    )


@router.get(
    METRICS,
    summary="What Prometheus may know of the gateway",
    response_class=Response,
    responses={200: {"description": "Prometheus' text format.", "content": _TEXT}},
)
async def metrics(request: Request) -> Response:
    """Needs no token."""
    return Response(request.app.state.metrics.text(), headers={"Content-Type": exposition.CONTENT_TYPE})


@router.get("/claude/status", summary="Whether there are credentials for Claude", responses=errors_of(404))
async def claude_status(caller: CallerOf) -> ClaudeStatusAnswer:
    """Those that runs of the caller's namespace are given."""
    path = _CLAUDE_STATUS.path(caller.namespace)
    found = await caller.cluster.document("GET", path)
    with readapi.valid(path):
        return ClaudeStatusAnswer(configured=found["configured"] is True, message=str(found["message"]))
