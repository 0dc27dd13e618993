"""kopf's connection to the API server, with every object cut to a depth that any code can walk (see kube/wire.py).

kopf parses each line of a watch itself. At a line that it cannot parse it ends the watch, for all objects and again at
each retry. So the lines are cut before kopf sees them.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
import kopf

from stromboli import bounds
from stromboli.health.watched import Watched
from stromboli.kube.wire import check_kubeconfig
from stromboli.naming import GROUP, VERSION

log = logging.getLogger(__name__)

# The endings of the paths of the kinds whose objects can be large.
LARGE = tuple(f"/apis/{GROUP}/{VERSION}/{plural}" for plural in ("agentruns", "agentsessions", "agentimages"))


async def login(watched: Watched, **kwargs: Any) -> kopf.AiohttpSession | None:
    """A handler for kopf's `on.login`: the cluster that kubectl would find (in-cluster, KUBECONFIG).

    `watched` is told what becomes of each request.
    """
    check_kubeconfig(os.environ)
    found = kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)
    if found is None:
        return None
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=found.as_ssl_context()),
        headers=found.as_http_headers(),
        proxy=found.proxy_url,
        trust_env=found.trust_env,
        response_class=ShallowResponse,
        middlewares=(_metadata_only, _Observed(watched)),
    )
    return _Session(
        server=found.server,
        priority=found.priority,
        default_namespace=found.default_namespace,
        expiration=found.expiration,
        aiohttp_session=session,
        credentials=found,
    )


async def _metadata_only(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Makes kopf list and watch only the metadata of kinds whose objects can be large."""
    if request.url.path.endswith(LARGE):
        kind = "PartialObjectMetadata" if "watch" in request.url.query else "PartialObjectMetadataList"
        request.headers["Accept"] = f"application/json;as={kind};g=meta.k8s.io;v=v1"
    return await handler(request)


@dataclass(frozen=True, slots=True)
class _Observed:
    """A middleware that reports what becomes of each request, and of each watch each piece that arrives."""

    watched: Watched

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        path = request.url.path
        self.watched.asked(path)
        try:
            response = await handler(request)
        except asyncio.CancelledError:
            self.watched.failed(path, "the API server does not answer")
            raise
        except (aiohttp.ClientError, OSError) as error:  # OSError includes TimeoutError
            self.watched.failed(path, f"the API server cannot be reached: {str(error) or 'it does not answer'}")
            raise
        if response.status >= 400:
            self.watched.failed(path, f"the API server answers {response.status} {response.reason}")
        else:
            self.watched.heard(path)
            if isinstance(response.content, _Lines):
                response.content.observed(lambda: self.watched.heard(path), lambda why: self.watched.failed(path, why))
        return response


@dataclass(frozen=True, kw_only=True, eq=False)
class _Session(kopf.AiohttpSession):
    """Equal to a session with the same credentials, so that kopf does not retry credentials that were rejected."""

    credentials: kopf.ConnectionInfo = field(repr=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Session) and other.credentials == self.credentials

    def __hash__(self) -> int:
        return hash((self.server, self.priority))


class ShallowResponse(aiohttp.ClientResponse):
    """A response in which nothing is nested deeper than bounds.OBJECT_DEPTH, read whole or line by line."""

    async def start(self, connection: Any) -> Self:
        await super().start(connection)
        self.content = _Lines(self.content)  # type: ignore[assignment]
        return self

    async def json(self, **_: Any) -> Any:
        found = bounds.json_object(await self.read())
        if isinstance(found, dict) and found.get("items", ()) is None:
            found["items"] = []  # an empty list of metadata is null, over which kopf would iterate
        return found


class _Lines:
    """A stream of JSON, one document per line, of which only the lines are changed."""

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content
        self._heard: Callable[[], None] = _nothing
        self._failed: Callable[[str], None] = _nothing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    def observed(self, heard: Callable[[], None], failed: Callable[[str], None]) -> None:
        """Call `heard` for each piece that arrives, and `failed` with each error of the API server's."""
        self._heard, self._failed = heard, failed

    def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        return _Cut(aiter(self._content.iter_chunked(size)), self._heard, self._failed)


def _nothing(*_: object) -> None:
    return


# An error in the stream ends kopf, unless it is 410, after which it lists everything and watches from there: which is
# what helps after any other, too.
_ERROR = b'{"type":"ERROR"'
_BEGIN_ANEW = b'{"type":"ERROR","object":{"code":410}}'


class _Cut(AsyncIterator[bytes]):
    """Whole lines as they arrive, each cut."""

    def __init__(
        self,
        chunks: AsyncIterator[bytes],
        heard: Callable[[], None] = _nothing,
        failed: Callable[[str], None] = _nothing,
    ) -> None:
        self._chunks = chunks
        self._heard = heard
        self._failed = failed
        self._begun: list[bytes] = []

    async def __anext__(self) -> bytes:
        async for chunk in self._chunks:
            self._heard()
            whole, newline, rest = chunk.rpartition(b"\n")
            if not newline:
                self._begun.append(chunk)
                continue
            lines = b"".join((*self._begun, whole)).split(b"\n")
            self._begun = [rest]
            return b"".join(self._line(line) + b"\n" for line in lines)
        if last := b"".join(self._begun):
            self._begun = []
            return self._line(last)
        raise StopAsyncIteration

    def _line(self, line: bytes) -> bytes:
        if not line.startswith(_ERROR):
            return bounds.cut_json(line)
        said = _said(line)
        if said.get("code") != 410:
            log.warning("a watch is begun anew: the API server says %s", said)
            self._failed(f"the API server ended it: {said.get('message')}")
        return _BEGIN_ANEW


def _said(line: bytes) -> dict[str, Any]:
    """What the API server says in an error: its code and its message."""
    try:
        found = bounds.json_object(line).get("object")
    except ValueError:
        return {}
    return {key: found.get(key) for key in ("code", "message")} if isinstance(found, dict) else {}
