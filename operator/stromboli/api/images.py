"""The read API's routes about images: what is on the node, what is in it, what registries have.

    GET /apis/agents.stromboli.dev/v1alpha1/namespaces/NAMESPACE/images
    GET /apis/agents.stromboli.dev/v1alpha1/namespaces/NAMESPACE/images/inspect?reference=IMAGE
    GET /apis/agents.stromboli.dev/v1alpha1/namespaces/NAMESPACE/images/search?query=WORDS[&limit=N]
    GET /apis/agents.stromboli.dev/v1alpha1/images?namespace=NAMESPACE

The first lists the images that the namespace may use, the last all others too. A list comes as lines of JSON:
`{"progress": {"done", "total"}}` while images are inspected that nobody has inspected before, then the list, or a
metav1.Status with what went wrong. The others answer with one document. The answers are found in
`perform.images.discovery`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict
from functools import partial
from typing import Protocol, cast

from aiohttp import web

from stromboli.api import answers
from stromboli.api.answers import REPORTED, Document, json_answer
from stromboli.api.errors import Declined
from stromboli.api.line import Line
from stromboli.naming import AGENTS_API, is_namespace
from stromboli.perform.images.discovery import Progress

log = logging.getLogger(__name__)

SECONDS = 50.0  # for an inspection or a search, including the wait for others; the API server gives up after 60
TURN = 10.0  # for a list to wait for others; with its own time it has to end before the API server gives up
LISTS, INSPECTIONS, SEARCHES = 4, 4, 2  # that are answered at a time
DEFAULT_LIMIT, MOST = 25, 100  # results of each registry
LONGEST = 255  # characters of a query
LONGEST_REFERENCE = 4096  # that are looked at
_ROUTE = f"{AGENTS_API}/namespaces/{{namespace}}/images"


class Finder(Protocol):
    """What `perform.images.discovery.Discovery` does."""

    def list(self, namespace: str, *, everything: bool = False) -> AsyncIterator[Progress | Document]: ...

    async def inspect(self, namespace: str, text: str) -> Document: ...

    async def search(self, namespace: str, query: str, limit: int) -> Document: ...


class ImageRoutes:
    """Serves what is found."""

    def __init__(self, finder: Finder) -> None:
        self._finder = finder
        self._lists = Line(LISTS)
        self._inspections = Line(INSPECTIONS)
        self._searches = Line(SEARCHES)

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get(f"{AGENTS_API}/images", self._list_all, allow_head=False)
        router.add_get(_ROUTE, self._list, allow_head=False)
        router.add_get(f"{_ROUTE}/inspect", self._inspect, allow_head=False)
        router.add_get(f"{_ROUTE}/search", self._search, allow_head=False)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        return await self._listed(request, _namespace(request), everything=False)

    async def _list_all(self, request: web.Request) -> web.StreamResponse:
        namespace = request.query.get("namespace", "")
        if not is_namespace(namespace):
            raise Declined(400, "the parameter `namespace` must name the namespace whose runs could use the images")
        return await self._listed(request, namespace, everything=True)

    async def _listed(self, request: web.Request, namespace: str, *, everything: bool) -> web.StreamResponse:
        async with _turn(self._lists):
            found = self._finder.list(namespace, everything=everything)
            async with aclosing(cast(AsyncGenerator[Progress | Document, None], found)) as steps:
                first = await anext(steps)  # an error before it has an HTTP status of its own
                response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
                await response.prepare(request)
                await response.write(_line(first))
                try:
                    async for step in steps:
                        await response.write(_line(step))
                except REPORTED as error:
                    await response.write(_line(answers.as_status(answers.of_error(error))))
                except ConnectionError:  # the client is gone
                    raise
                except Exception:  # as in answers.py, for a response that has begun
                    log.exception("%s: unexpected error", request.path)
                    await response.write(_line(answers.as_status(answers.UNEXPECTED)))
                await response.write_eof()
        return response

    async def _inspect(self, request: web.Request) -> web.Response:
        text = request.query.get("reference", "")[:LONGEST_REFERENCE]
        work = partial(self._finder.inspect, _namespace(request), text)
        return json_answer(200, await _within(self._inspections, work, "inspecting the image"))

    async def _search(self, request: web.Request) -> web.Response:
        query, limit = _query(request.query.get("query", "")), _limit(request.query.get("limit", str(DEFAULT_LIMIT)))
        work = partial(self._finder.search, _namespace(request), query, limit)
        return json_answer(200, await _within(self._searches, work, "searching"))


@asynccontextmanager
async def _turn(room: Line) -> AsyncIterator[None]:
    """The block is one of those LISTS. Raises Declined if none of them ends soon."""
    try:
        async with asyncio.timeout(TURN):
            await room.acquire()
    except TimeoutError as late:
        raise Declined(503, f"{LISTS} other lists are being made; try again") from late
    try:
        yield
    finally:
        room.release()


async def _within(room: Line, work: Callable[[], Awaitable[Document]], doing: str) -> Document:
    """The result of work that waits for its turn. Raises Declined if that takes too long."""
    try:
        async with asyncio.timeout(SECONDS), room:
            return await work()
    except TimeoutError as late:
        raise Declined(503, f"{doing} took more than {SECONDS:.0f} s; try again") from late


def _namespace(request: web.Request) -> str:
    namespace = request.match_info["namespace"]
    if not is_namespace(namespace):
        raise Declined(404, "the path contains a name that is not a valid Kubernetes name")
    return namespace


def _query(text: str) -> str:
    words = " ".join(text.split())
    if not words or len(words) > LONGEST or not words.isprintable():
        raise Declined(400, f"the parameter `query` must have 1 to {LONGEST} printable characters, such as python")
    return words


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 4 and 1 <= int(text) <= MOST):
        raise Declined(400, f"the parameter `limit` must be a number from 1 to {MOST}")
    return int(text)


def _line(step: Progress | Document) -> bytes:
    document = {"progress": asdict(step)} if isinstance(step, Progress) else step
    return answers.encoded(document) + b"\n"
