"""The FastAPI application: what every call passes, the routes, and the OpenAPI document.

Each error is answered as `errors.ErrorAnswer`; what the API server refuses is translated in one place, here. A call is
logged without its query, which may have a prompt in it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import State
from starlette.requests import ClientDisconnect

from stromboli import visible
from stromboli.errors import ApiRefused, ApiUnreachable, LocalFailure
from stromboli.httpapi import docspage, openapi, sse
from stromboli.httpapi.body import Room
from stromboli.httpapi.caller import Access
from stromboli.httpapi.calls import ROUTERS
from stromboli.httpapi.errors import GONE, STOPPED, Refusal, errors_of, refusal_of
from stromboli.httpapi.health import Health
from stromboli.httpapi.ratelimit import RateLimit
from stromboli.httpsettings import HttpSettings
from stromboli.metrics.gateway import GatewayMetrics

log = logging.getLogger(__name__)

_NOT_FOUND = 404
API_VERSION = "0.4.0"  # of Stromboli's API, which its clients compare
_UNEXPECTED = Refusal(500, "this could not be answered; the log of the gateway says why", "InternalError")
# What each call can be answered, whatever it is.
_ALWAYS = errors_of(400, 401, 403, 413, 429, 503)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


def application(
    settings: HttpSettings,
    access: Access | None,
    operator_version: str,
    health: Health | None = None,
    metrics: GatewayMetrics | None = None,
    **state: Any,
) -> FastAPI:
    """The application; without `access` for its OpenAPI document only. `state` is what single routes need more."""
    app = _routes()
    equip(app, settings, access, operator_version, health, metrics, **state)
    return app


def equip(
    app: FastAPI,
    settings: HttpSettings,
    access: Access | None,
    operator_version: str,
    health: Health | None = None,
    metrics: GatewayMetrics | None = None,
    **state: Any,
) -> None:
    """Give the application all that its calls work with, in place of what it had."""
    stated = settings.rate_limit
    app.state = State(
        {
            "access": access,
            "operator_version": operator_version,
            "health": health or Health({}),
            "metrics": metrics or GatewayMetrics(operator_version),
            "body_limit": settings.server.body_limit,
            "bodies": Room(),
            "rate_limit": RateLimit(stated.rate, stated.burst) if stated.enabled else None,
            **state,
        }
    )


def _routes() -> FastAPI:
    app = FastAPI(
        title="Stromboli",
        version=API_VERSION,
        description="Runs Claude Code in any glibc container image. Each call works on objects of the cluster, as the "
        "caller.",
        responses=_ALWAYS,
        docs_url=None,  # ours: docspage.py
        redoc_url=None,
        redirect_slashes=False,  # it would be answered with what is no JSON
        separate_input_output_schemas=False,
    )
    for router in (*ROUTERS, docspage.router):
        app.include_router(router)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(ApiRefused, _refused)
    app.add_exception_handler(ApiUnreachable, _refused)
    app.add_exception_handler(LocalFailure, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ClientDisconnect, _gone)
    for status in (400, 404, 405):
        app.add_exception_handler(status, _not_served)
    app.openapi = lambda: openapi.document(app)  # type: ignore[method-assign]
    app.add_middleware(_Outermost)
    return app


def document() -> dict[str, Any]:
    """The OpenAPI document, of an application that serves nobody."""
    return openapi.document(application(HttpSettings(), None, ""))


class _Outermost:
    """Pure ASGI around everything: the rate limit, the log, the metrics, and an answer for what nobody expected."""

    def __init__(self, app: Asgi) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status, is_stream = time.monotonic(), 0, False
        metrics: GatewayMetrics = scope["app"].state.metrics
        metrics.waiting.inc()

        async def noting(message: Message) -> None:
            nonlocal status, is_stream
            match message:
                case {"type": "http.response.start", "status": int(begun_as)}:
                    status = begun_as
                    metrics.waiting.dec()
                    if is_stream := _is_stream(message):
                        metrics.streams.inc()
            await send(message)

        try:
            if (refusal := _limited(scope)) is not None:
                await _answer(refusal)(scope, receive, noting)
            else:
                await self._app(scope, receive, noting)
        except asyncio.CancelledError:  # the gateway stops; an answer that has begun breaks off
            if not status:
                await _answer(_stopped(scope))(scope, receive, noting)
        except Exception:  # whatever it is, the answer is a sentence, and the cause is in the log only
            log.exception("%s %s: unexpected error", scope["method"], visible.text(scope["path"]))
            if status:  # the answer has begun; that it breaks off says that it is not whole
                raise
            await _answer(_UNEXPECTED)(scope, receive, noting)
        finally:
            took = time.monotonic() - begun
            if not status:
                metrics.waiting.dec()
            if is_stream:
                metrics.streams.dec()
            metrics.answered(_route(scope), scope["method"], status, took)
            log.info("%s %s %d %.3f s", scope["method"], visible.text(scope["path"])[:200], status, took)


def _limited(scope: Scope) -> Refusal | None:
    limit: RateLimit | None = scope["app"].state.rate_limit
    wait = 0.0 if limit is None else limit.wait(_who(scope), time.monotonic())
    if not wait:
        return None
    return Refusal(429, "too many calls; wait a moment", headers={"Retry-After": str(math.ceil(wait))})


def _stopped(scope: Scope) -> Refusal:
    """What is said of a call that is cut off. What it has begun goes on, so no 503 tells anybody to repeat it."""
    if scope["method"] == "POST" or scope["path"] == "/run/stream":
        return Refusal(408, "the gateway has stopped; what was asked for may go on: see GET /jobs, or /images", STOPPED)
    return Refusal(503, "the gateway has stopped; try again", STOPPED)


def _is_stream(message: Message) -> bool:
    return any(name == b"content-type" and value.startswith(sse.MEDIA.encode()) for name, value in message["headers"])


def _route(scope: Scope) -> str:
    """The template of the route that the call has found; empty if there is none for its path."""
    return str(getattr(scope.get("route"), "path", ""))


def _who(scope: Scope) -> str:
    """Whose calls are counted together: those with one token, or else from one address."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            return hashlib.sha256(value).hexdigest()
    return str((scope.get("client") or ("",))[0])


def _answer(refusal: Refusal) -> JSONResponse:
    return JSONResponse(refusal.answer().model_dump(), refusal.status, refusal.headers)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal | LocalFailure), "it is registered for these"
    refusal = refusal_of(error)
    if refusal.status == 503:
        log.warning("%s", refusal)
    return _answer(refusal)


async def _invalid(_: Request, error: Exception) -> Response:
    """A parameter of a path, a query or a header that FastAPI has checked."""
    assert isinstance(error, RequestValidationError), "it is registered for these"
    first = error.errors()[0]
    name = str(first["loc"][-1])
    said = f"the parameter `{name}` is not valid: {first['msg']}"
    return _answer(Refusal(400, visible.text(said), "BadRequest", {"field": name}))


async def _gone(_: Request, __: Exception) -> Response:
    """The client hung up before its request was whole. Nobody reads the answer; its status is for the log."""
    return Response(status_code=GONE)


async def _not_served(request: Request, error: Exception) -> Response:
    """FastAPI knows no such path or method."""
    status, detail = getattr(error, "status_code", 404), getattr(error, "detail", "")
    what = f"{request.method} {visible.text(request.url.path)[:200]}"
    said = "not served here; /docs shows the calls that are" if status == _NOT_FOUND else f"not served here: {detail}"
    return _answer(Refusal(status, f"{what} is {said}", headers=getattr(error, "headers", None)))
