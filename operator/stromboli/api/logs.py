"""The read API's route of a run's output.

    GET /apis/agents.stromboli.dev/v1alpha1/namespaces/NAMESPACE/agentruns/NAME/log
        ?uid=UID            the run has to have this UID
        &attempt=N          the last, unless given
        &step=STEP          agent (what the CLI prints; the default), stderr, supervisor, or a hook such as postStart[0]
        &service=NAME       instead of a step: a service of the run's stack (perform/logs/services.py)
        &offset=BYTES       counted from the first byte ever written; what is no longer kept is left out
        &limitBytes=N
        &sinceSeconds=N     whole lines, written in the last so many seconds and a few more (perform/logs/times.py);
                            of a hook and the supervisor everything
        &follow=true        until the step has ended and everything was sent

The answer is the bytes of the output, in which secrets are masked by as many `*`. Its headers say of which attempt it
is (`Stromboli-Attempt`, 0 without one), the offset of its first byte (`Stromboli-Offset`) and how far the step was when
it began (`Stromboli-State`: waiting, running or ended). A stream may end before its step does: if it was too slow for
what is kept, or the operator stops. Whoever follows asks again with the offset that it has come to; an empty answer
with the state `ended` is the end.

What is served is found in `perform.logs`. A client that does not read, or is gone, is noticed in `tlslistener`, and
aiohttp then cancels what is done for it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Protocol, cast

from aiohttp import web

from stromboli.api.errors import Declined
from stromboli.attempt.records import AGENT
from stromboli.naming import AGENTS_API, is_namespace, is_object_name
from stromboli.perform.logs.asked import Answer, Asked, NoOutput

log = logging.getLogger(__name__)

MOST = 200  # answers at a time, fewer than the connections that there may be
_UNSENT = 16 * 1024  # bytes that wait for a client before more is read for it
_NUMBER = 2**53  # numbers have to be below
_ROUTE = f"{AGENTS_API}/namespaces/{{namespace}}/agentruns/{{name}}/log"
_STATUS = {"invalid": 400, "missing": 404, "replaced": 409, "withheld": 410, "elsewhere": 503}
_REASON = {"withheld": "Withheld"}


class Opener(Protocol):
    """What `perform.logs.steps.Outputs` does."""

    async def open(self, namespace: str, name: str, asked: Asked) -> Answer: ...


class LogRoutes:
    """Serves outputs."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._serving = 0

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get(_ROUTE, self._log, allow_head=False)

    async def _log(self, request: web.Request) -> web.StreamResponse:
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        if not is_namespace(namespace) or not is_object_name(name):
            raise Declined(404, "the path contains a name that is not a valid Kubernetes name")
        asked = _asked(request)
        if self._serving >= MOST:
            raise Declined(503, f"{MOST} logs are being read from this node; try again")
        self._serving += 1
        try:
            return await _answered(request, await self._opened(namespace, name, asked))
        finally:
            self._serving -= 1

    async def _opened(self, namespace: str, name: str, asked: Asked) -> Answer:
        try:
            return await self._opener.open(namespace, name, asked)
        except NoOutput as error:
            raise Declined(_STATUS[error.why], str(error), _REASON.get(error.why, "")) from error


async def _answered(request: web.Request, answer: Answer) -> web.StreamResponse:
    """Send all of it. A failure breaks the connection off, since an answer that has begun cannot become an error."""
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/plain; charset=utf-8",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
            "Stromboli-Attempt": str(answer.attempt),
            "Stromboli-Offset": str(answer.offset),
            "Stromboli-State": answer.state,
        }
    )
    if request.transport is not None:
        request.transport.set_write_buffer_limits(high=_UNSENT)
    async with aclosing(cast(AsyncGenerator[bytes, None], answer.pieces)) as pieces:
        await response.prepare(request)
        try:
            async for piece in pieces:
                await response.write(piece)
                await request.writer.drain()  # aiohttp itself waits only after several
        except ConnectionError:
            raise
        except Exception as error:  # as in answers.py, but bytes have been sent, so no sentence can follow
            log.exception("%s: unexpected error", request.path)
            raise ConnectionAbortedError("the answer could not be completed") from error
        await response.write_eof()
    return response


def _asked(request: web.Request) -> Asked:
    query = request.query
    if "step" in query and "service" in query:
        raise Declined(400, "the parameters `step` and `service` exclude each other; leave one out")
    return Asked(
        step=query.get("step", AGENT),
        service=query.get("service", ""),
        uid=query.get("uid", ""),
        attempt=_number(query, "attempt", 1),
        offset=_number(query, "offset", 0) or 0,
        limit=_number(query, "limitBytes", 1),
        since=_number(query, "sinceSeconds", 0),
        follow=_flag(query, "follow"),
    )


def _number(query: Mapping[str, str], name: str, least: int) -> int | None:
    if (text := query.get(name)) is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 16 and least <= int(text) < _NUMBER):
        raise Declined(400, f"the parameter `{name}` must be a whole number from {least} on, such as {least + 1}")
    return int(text)


def _flag(query: Mapping[str, str], name: str) -> bool:
    if (text := query.get(name, "false")) not in ("true", "false"):
        raise Declined(400, f"the parameter `{name}` must be true or false")
    return text == "true"
