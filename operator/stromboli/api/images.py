"""The read API's routes about images: what is on the node, what is in it, what registries have.

    GET /apis/stromboli.dev/v1alpha1/namespaces/NAMESPACE/images[?all=true]
    GET /apis/stromboli.dev/v1alpha1/namespaces/NAMESPACE/images/inspect?reference=IMAGE
    GET /apis/stromboli.dev/v1alpha1/namespaces/NAMESPACE/images/search?query=WORDS[&limit=N]

Whoever may list (or, to inspect one, get) AgentImages in the namespace may ask; `all` needs that in all namespaces. The
list comes as lines of JSON: `{"progress": {"done", "total"}}` while images are inspected that nobody has inspected
before, then the list, or `{"error", "reason"}`. The others answer with one document. The answers are found in
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
from stromboli.api.answers import NAMESPACE, REPORTED, Document, json_answer
from stromboli.api.authorise import Authorizer
from stromboli.api.errors import Declined
from stromboli.kube.reviews import Access
from stromboli.naming import AGENTS_API, GROUP, VERSION
from stromboli.perform.images.discovery import Progress

log = logging.getLogger(__name__)

SECONDS = 60.0  # for an inspection or a search, including the wait for others
TURN = 15.0  # for a list to wait for others; with its own time it must end before its connection does
LISTS, INSPECTIONS, SEARCHES = 4, 4, 2  # that are answered at a time
DEFAULT_LIMIT, MOST = 25, 100  # results of each registry
LONGEST = 255  # characters of a query
LONGEST_REFERENCE = 4096  # that are looked at
_ROUTE = "/namespaces/{namespace}/images"
_BY_TOKEN = f"/apis/{GROUP}/{VERSION}"


class Finder(Protocol):
    """What `perform.images.discovery.Discovery` does."""

    def list(self, namespace: str, *, everything: bool = False) -> AsyncIterator[Progress | Document]: ...

    async def inspect(self, namespace: str, text: str) -> Document: ...

    async def search(self, namespace: str, query: str, limit: int) -> Document: ...


class ImageRoutes:
    """Serves what is found; with an authorizer, to users whom the cluster authorizes."""

    def __init__(self, authorizer: Authorizer | None, finder: Finder) -> None:
        self._authorizer = authorizer
        self._finder = finder
        self._lists = asyncio.Semaphore(LISTS)
        self._inspections = asyncio.Semaphore(INSPECTIONS)
        self._searches = asyncio.Semaphore(SEARCHES)

    def add_to(self, router: web.UrlDispatcher) -> None:
        if self._authorizer is None:
            router.add_get(f"{AGENTS_API}/images", self._list_all, allow_head=False)
        base = (AGENTS_API if self._authorizer is None else _BY_TOKEN) + _ROUTE
        router.add_get(base, self._list, allow_head=False)
        router.add_get(f"{base}/inspect", self._inspect, allow_head=False)
        router.add_get(f"{base}/search", self._search, allow_head=False)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        everything = self._authorizer is not None and _flag(request.query.get("all", "false"))
        namespace = await self._admitted(request, "list")
        if everything and self._authorizer is not None:
            await self._authorizer.admit(request.headers.get("Authorization"), _access("list", ""))
        return await self._listed(request, namespace, everything=everything)

    async def _list_all(self, request: web.Request) -> web.StreamResponse:
        namespace = request.query.get("namespace", "")
        if not NAMESPACE.fullmatch(namespace):
            raise Declined(400, "the parameter `namespace` must name the namespace whose runs could use the images")
        return await self._listed(request, namespace, everything=True)

    async def _listed(self, request: web.Request, namespace: str, *, everything: bool) -> web.StreamResponse:
        as_document = answers.as_status if self._authorizer is None else answers.as_document
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
                    await response.write(_line(as_document(answers.of_error(error))))
                except ConnectionError:  # the client is gone
                    raise
                except Exception:  # as in answers.py, for a response that has begun
                    log.exception("%s: unexpected error", request.path)
                    await response.write(_line(as_document(answers.UNEXPECTED)))
                await response.write_eof()
        return response

    async def _inspect(self, request: web.Request) -> web.Response:
        text = request.query.get("reference", "")[:LONGEST_REFERENCE]
        namespace = await self._admitted(request, "get")
        work = partial(self._finder.inspect, namespace, text)
        return json_answer(200, await _within(self._inspections, work, "inspecting the image"))

    async def _search(self, request: web.Request) -> web.Response:
        query, limit = _query(request.query.get("query", "")), _limit(request.query.get("limit", str(DEFAULT_LIMIT)))
        namespace = await self._admitted(request, "list")
        work = partial(self._finder.search, namespace, query, limit)
        return json_answer(200, await _within(self._searches, work, "searching"))

    async def _admitted(self, request: web.Request, verb: str) -> str:
        """The namespace, if whoever asks may do that there. Raises Declined, ClusterUnavailable."""
        namespace = request.match_info["namespace"]
        if not NAMESPACE.fullmatch(namespace):
            raise Declined(404, "the path contains a name that is not a valid Kubernetes name")
        if self._authorizer is not None:
            await self._authorizer.admit(request.headers.get("Authorization"), _access(verb, namespace))
        return namespace


@asynccontextmanager
async def _turn(room: asyncio.Semaphore) -> AsyncIterator[None]:
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


async def _within(room: asyncio.Semaphore, work: Callable[[], Awaitable[Document]], doing: str) -> Document:
    """The result of work that waits for its turn. Raises Declined if that takes too long."""
    try:
        async with asyncio.timeout(SECONDS), room:
            return await work()
    except TimeoutError as late:
        raise Declined(503, f"{doing} took more than {SECONDS:.0f} s; try again") from late


def _access(verb: str, namespace: str) -> Access:
    return Access(verb, GROUP, "agentimages", "", namespace, "")


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise Declined(400, "the parameter `all` must be true or false")
    return text == "true"


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
