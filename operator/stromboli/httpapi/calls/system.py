"""GET /health and /claude/status."""

from __future__ import annotations

from fastapi import APIRouter, Request

from stromboli.httpapi.shapes.system import HealthAnswer

router = APIRouter(tags=["system"])


@router.get("/health", summary="How the server is")
async def health(request: Request) -> HealthAnswer:
    """Needs no token."""
    state = request.app.state
    return HealthAnswer(status="ok", version=request.app.version, operator_version=state.operator_version)
