"""The gateway's HTTP side: who is served, and by whom.

/healthz, /readyz, /metrics         for whoever asks, without a client certificate
/apis…, /openapi/v2, /openapi/v3…   answered here, for the front proxy
/apis/GROUP/VERSION/…               passed on to an operator, for the front proxy
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Middleware

from stromboli.api.answers import errors_as_status
from stromboli.api.errors import Declined
from stromboli.errors import ClusterUnavailable
from stromboli.gateway import discovery, routes, trust
from stromboli.gateway.onward import Onward, Unanswered
from stromboli.gateway.operations import Place
from stromboli.gateway.routes import Asked
from stromboli.gateway.upkeep import Upkeep
from stromboli.kube.aggregation import Located
from stromboli.metrics import exposition
from stromboli.metrics.gateway import GatewayMetrics
from stromboli.naming import AGENTS_API, METRICS

log = logging.getLogger(__name__)

# Requests that are passed on at a time: they can last, and there must be connections left (process.py) for what the API
# server asks about the API meanwhile. A user may have half of them.
MOST, EACH = 320, 160
_OPEN = ("/healthz", "/readyz", METRICS)
_NODE = re.compile(r"[-._A-Za-z0-9]{1,253}")  # as a key of the ConfigMap in which its address is
_SEARCH = 15.0  # seconds to find a node that answers, where any will do
_USER = web.RequestKey("user", str)
_KINDS = {Place.RUN: "AgentRun", Place.SESSION: "AgentSession"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Lookups(Protocol):
    """What the gateway asks the API server for a request. Raises ClusterUnavailable."""

    async def located(self, plural: str, namespace: str, name: str) -> Located | None:
        """Where an object is."""

    async def operators(self) -> Mapping[str, str]:
        """The address of each node's operator."""


class Gateway:
    """The handlers."""

    def __init__(self, upkeep: Upkeep, lookups: Lookups, onward: Onward, release: str, metrics: GatewayMetrics) -> None:
        self._upkeep = upkeep
        self._lookups = lookups
        self._onward = onward
        self._pages = discovery.pages(release)
        self._metrics = metrics
        self._passing: Counter[str] = Counter()  # requests by user

    def application(self, outermost: Middleware) -> web.Application:
        """The aiohttp application."""
        app = web.Application(middlewares=[outermost, errors_as_status, self._only_the_front_proxy])
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get(METRICS, self._exposition)
        for path in self._pages:
            app.router.add_get(path, self._page)
        app.router.add_get(f"{AGENTS_API}/{{path:.+}}", self._passed_on, allow_head=False)
        return app

    @web.middleware
    async def _only_the_front_proxy(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in _OPEN:
            return await handler(request)
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client is gone")
        if not self._upkeep.still_trusts(transport.get_extra_info("sslcontext")):
            raise Declined(401, "the API server has another front proxy now; connect again", closes=True)
        request[_USER] = trust.user(self._upkeep.proxy, transport.get_extra_info("peercert"), request.headers)
        return await handler(request)

    async def _healthz(self, request: web.Request) -> web.Response:
        if self._upkeep.is_stuck:
            raise Declined(500, "the gateway has stopped asking the API server")
        return web.Response(text="ok")

    async def _readyz(self, request: web.Request) -> web.Response:
        if wrong := self._upkeep.wrong:
            raise Declined(503, wrong)
        return web.Response(text="ok")

    async def _exposition(self, request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.text(), headers={"Content-Type": exposition.CONTENT_TYPE})

    async def _page(self, request: web.Request) -> web.Response:
        page = self._pages[request.path]
        if not discovery.accepts_json(request.headers.get("Accept", "")):
            raise Declined(406, "this is served as application/json only")
        known = page.etag in request.headers.get("If-None-Match", "")
        headers = {"ETag": page.etag, "Vary": "Accept"}
        if known:
            return web.Response(status=304, headers=headers)
        return web.Response(body=page.content, content_type="application/json", headers=headers)

    async def _passed_on(self, request: web.Request) -> web.StreamResponse:
        asked = routes.asked(request.match_info["path"], request.query.items())
        if asked is None:
            raise Declined(404, f"{request.path} is not served here")
        status = 0
        try:
            with self._place(request[_USER]), self._metrics.read_api_open.track_inprogress():
                response = await self._answer(request, asked)
                status = response.status
                return response
        except Declined as declined:
            status = declined.status
            log.info("%s asked for %s: %s", request[_USER], request.path, declined)
            raise
        except ClusterUnavailable:
            status = 503
            raise
        finally:
            self._metrics.passed_on(asked.resource, status)

    @contextmanager
    def _place(self, user: str) -> Iterator[None]:
        """The block is one of the requests that are passed on. Raises Declined if there are too many of them."""
        if self._passing[user] >= EACH:
            raise Declined(503, f"{EACH} of your requests are being answered; try again when one of them has ended")
        if self._passing.total() >= MOST:
            raise Declined(503, f"{MOST} requests are being answered; try again")
        self._passing[user] += 1
        try:
            yield
        finally:
            self._passing[user] -= 1
            if not self._passing[user]:
                del self._passing[user]

    async def _answer(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        if asked.place is Place.ANY:
            return await self._of_any(request, asked)
        found = await self._located(asked)
        if found.node:
            addresses = await self._lookups.operators()
            return await self._onward.answer(request, asked, found.node, _address(addresses, found.node))
        if asked.place is Place.SESSION:
            raise Declined(404, f"the session {asked.name} has no conversation yet; its first run starts one")
        state = "ended" if found.finished else "waiting"
        headers = {"Stromboli-Attempt": "0", "Stromboli-Offset": "0", "Stromboli-State": state}
        return web.Response(content_type="text/plain", charset="utf-8", headers=headers)

    async def _located(self, asked: Asked) -> Located:
        """The object, which is the one that was meant if a UID says which."""
        found = await self._lookups.located(asked.place.value, asked.namespace, asked.name)
        if found is None:
            raise Declined(404, f"the namespace {asked.namespace} has no {_KINDS[asked.place]} {asked.name}")
        if (uid := asked.parameter("uid")) and uid != found.uid:
            raise Declined(409, f"the {_KINDS[asked.place]} {asked.name} is another now: its UID is {found.uid}")
        return found

    async def _of_any(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        """The answer of the node that is asked for, or else of one that answers."""
        wanted = asked.parameter("node")
        if wanted and not _NODE.fullmatch(wanted):  # it would be quoted in the log
            raise Declined(400, "the parameter `node` is not a name that a node can have")
        addresses = await self._lookups.operators()
        if wanted:
            return await self._onward.answer(request, asked, wanted, _address(addresses, wanted))
        failed = Declined(503, "no operator has said where it listens; start one")
        until = time.monotonic() + _SEARCH
        for node in random.sample(sorted(addresses), len(addresses)):  # some may be of nodes that are gone
            try:
                return await self._onward.answer(request, asked, node, addresses[node])
            except Unanswered as error:
                failed = error
            if time.monotonic() > until:
                break
        raise failed


def _address(addresses: Mapping[str, str], node: str) -> str:
    if (address := addresses.get(node)) is None:
        raise Declined(503, f"the operator of node {node} has not said where it listens; is it running?")
    return address
