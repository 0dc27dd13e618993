"""The API server on behalf of whoever called the HTTP API: with their token, or as the local user.

It is asynchronous, and nothing of it is cached: RBAC decides each call anew. Errors are those of user.py: ApiRefused
if the API server answered with one, ApiUnreachable if there was no answer, or one that broke off; ApiAbsent, which is
one of those, if there was no connection.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp

from stromboli import bounds
from stromboli.errors import ApiAbsent, ApiRefused, ApiUnreachable, HttpFailed, HttpUnsent
from stromboli.httpclient import Answer, Http
from stromboli.kube import login, refusals
from stromboli.kube.kubeconfig import Place
from stromboli.kube.user import Object, Query, Resource

log = logging.getLogger(__name__)

SILENCE = 75.0  # seconds without a byte of an answer: the operator's own limit is a minute
WATCH = 240.0  # seconds that one watch lasts
PAGE = 100  # objects of a list that are read at a time
FIRST, LAST = 0.2, 5.0  # seconds before a connection that was lost is made again
_KEPT = 16  # connections that are kept between calls: a new one costs a TLS handshake
_CONNECT = 10.0  # seconds
_PROBE = 3.0  # seconds for the API server to say that it is there
_NOT_FOUND, _GONE = 404, 410
_REVIEWS = Resource("selfsubjectreviews", "authentication.k8s.io", "v1")
_JSON = "application/json"
_MERGE = "application/merge-patch+json"
_HEAD = f"{_JSON};as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_HEADS = f"{_JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list, the version that a watch of it continues from, and the token of the next part, if any."""

    items: list[Object]
    version: str
    following: str = ""


class Caller:
    """One caller's calls. Names must be valid: they become part of paths."""

    def __init__(self, http: Http, headers: Mapping[str, str]) -> None:
        self._http = http
        self._headers = headers

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """An object. Raises ApiRefused, with status 404 if there is none."""
        return await self.document("GET", resource.path(namespace, name))

    async def find(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        """An object; None if there is none."""
        try:
            return await self.get(resource, namespace, name)
        except ApiRefused as e:
            if e.status != _NOT_FOUND:
                raise
            return None

    async def head(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """The metadata of an object, which alone is sent. Raises ApiRefused, with status 404 if there is none."""
        found = await self.document("GET", resource.path(namespace, name), accept=_HEAD)
        return dict(found["metadata"])

    async def heads(self, resource: Resource, namespace: str | None, *, labels: str = "") -> list[Object]:
        """The metadata of all objects of a list, which alone is sent."""
        pages = self.pages(resource, namespace, labels=labels, accept=_HEADS)
        return [item["metadata"] async for page in pages for item in page.items]

    async def page(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        labels: str = "",
        fields: str = "",
        limit: int = PAGE,
        following: str = "",
        accept: str = _JSON,
    ) -> Page:
        """One part of a list, of at most `limit` objects; with `following`, the token of another part, what follows."""
        asked = {"limit": str(limit), "labelSelector": labels, "fieldSelector": fields, "continue": following}
        query = {name: value for name, value in asked.items() if value}
        found = await self.document("GET", resource.path(namespace), query, accept=accept)
        about = found.get("metadata") or {}
        return Page(found.get("items") or [], about.get("resourceVersion") or "", about.get("continue") or "")

    async def list(self, resource: Resource, namespace: str | None, *, labels: str = "", fields: str = "") -> Page:
        """A whole list."""
        items: list[Object] = []
        version = ""
        async for page in self.pages(resource, namespace, labels=labels, fields=fields):
            items += page.items
            version = page.version
        return Page(items, version)

    async def pages(
        self, resource: Resource, namespace: str | None, *, labels: str = "", fields: str = "", accept: str = _JSON
    ) -> AsyncGenerator[Page, None]:
        """The parts of a whole list: at least one."""
        following = ""
        while True:
            page = await self.page(
                resource, namespace, labels=labels, fields=fields, following=following, accept=accept
            )
            yield page
            if not (following := page.following):
                return

    async def create(self, resource: Resource, namespace: str | None, body: Object) -> Object:
        """Create an object. Raises ApiRefused, with status 409 if there is one."""
        return await self.document("POST", resource.path(namespace), {"fieldValidation": "Strict"}, body)

    async def patch(self, resource: Resource, namespace: str | None, name: str, change: Object) -> Object:
        """Change an object by a merge patch; one with `metadata.resourceVersion` only that version, else 409."""
        path = resource.path(namespace, name)
        return await self.document("PATCH", path, {"fieldValidation": "Strict"}, change, form=_MERGE)

    async def delete(self, resource: Resource, namespace: str | None, name: str, *, uid: str = "") -> Object:
        """Delete an object; with `uid` only that one: 409 if the name is another's now."""
        body = {"preconditions": {"uid": uid}} if uid else {}
        return await self.document("DELETE", resource.path(namespace, name), {}, body)

    async def user(self) -> str:
        """The caller's name, as the API server knows it."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        found = await self.create(_REVIEWS, None, body)
        with _failures():
            return str(found["status"]["userInfo"]["username"])

    async def changes(
        self, resource: Resource, namespace: str | None, version: str, *, name: str = "", seconds: float = WATCH
    ) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
        """The events of one watch from a version on: ADDED, MODIFIED or DELETED, and the object. It ends after so many
        seconds. Raises ApiRefused, with 410 if the version is too old.
        """
        query = {"watch": "true", "timeoutSeconds": str(int(seconds)), "resourceVersion": version}
        if name:
            query["fieldSelector"] = f"metadata.name={name}"
        async with self.stream(resource.path(namespace), query, silence=seconds + SILENCE) as answer:
            with _failures():
                async for line in answer.lines(bounds.ANSWER.size):
                    event = bounds.json_document(line, bounds.ANSWER)
                    kind, found = str(event["type"]), event["object"]
                    if kind == "ERROR":
                        code = found.get("code")
                        raise refusals.of_status(code if isinstance(code, int) else 500, found, resource.path())
                    if kind != "BOOKMARK":
                        yield kind, found

    async def states(
        self, resource: Resource, namespace: str, name: str, *, known: bool = False
    ) -> AsyncGenerator[Object | None, None]:
        """Each state of the object of that name, from the present one; None while there is none. A state may be passed
        over: what counts is the last one. A connection that is lost is made again, for ever.

        Raises ApiRefused, ApiUnreachable if the first call fails and the object is not `known` from before, and
        ApiRefused for later ones unless it is passing.
        """
        seen, begun, pause = "", known, FIRST
        while True:
            try:
                now = await self.page(resource, namespace, fields=f"metadata.name={name}")
                begun, pause = True, FIRST
                found = now.items[0] if now.items else None
                if found is None or _version(found) != seen:
                    seen = _version(found)
                    yield found
                async for kind, changed in self.changes(resource, namespace, now.version, name=name):
                    seen = _version(changed)
                    yield None if kind == "DELETED" else changed
            except (ApiUnreachable, ApiRefused) as e:
                if isinstance(e, ApiRefused) and e.status == _GONE:
                    continue
                if not begun or (isinstance(e, ApiRefused) and not e.is_transient):
                    raise
                await asyncio.sleep(pause)
                pause = min(pause * 2, LAST)

    @asynccontextmanager
    async def stream(
        self, path: str, query: Query | None = None, *, silence: float = SILENCE, accept: str = _JSON
    ) -> AsyncIterator[Answer]:
        """What is at any path, as it comes; after `silence` seconds without a byte it counts as lost. What is raised
        while it is read is ApiUnreachable, too.
        """
        call = self._http.stream("GET", path, query=query, headers={**self._headers, "Accept": accept}, silence=silence)
        with _failures():
            async with call as answer:
                if answer.status >= 300:
                    raise refusals.of_answer(answer.status, await answer.read(bounds.ANSWER.size), path)
                yield answer

    async def content(self, path: str, query: Query | None = None, *, accept: str = _JSON) -> bytes:
        """What is at any path, whole, or more than an answer may have: then its beginning."""
        with _failures():
            return await self._read("GET", path, query, None, {"Accept": accept})

    async def document(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: Object | None = None,
        *,
        form: str = _JSON,
        accept: str = _JSON,
    ) -> dict[str, Any]:
        """One call to any path, and the JSON object that answers it."""
        content = None if body is None else json.dumps(body).encode("utf-8", "surrogatepass")
        headers = {"Accept": accept, **({"Content-Type": form} if content is not None else {})}
        with _failures():
            found = bounds.json_document(await self._read(method, path, query, content, headers), bounds.ANSWER)
            if not isinstance(found, dict):
                raise ValueError("the answer is not an object")
            return found

    async def _read(
        self, method: str, path: str, query: Query | None, content: bytes | None, headers: Mapping[str, str]
    ) -> bytes:
        """The answer to one call, or more than one may have: then its beginning. Raises ApiRefused, HttpFailed."""
        sent = {**self._headers, **headers}
        call = self._http.stream(method, path, query=query, headers=sent, body=content, silence=SILENCE, short=True)
        async with call as answer:
            read = await answer.read(bounds.ANSWER.size)
        if answer.status >= 300:
            raise refusals.of_answer(answer.status, read, path)
        return read


class Callers:
    """All callers of one API server."""

    def __init__(self, place: Place, local: Place | None = None) -> None:
        """`place` is where the API server is, `local` the local user, if calls without a token act as one. Raises
        LocalFailure if a certificate cannot be used.
        """
        # Without our own certificate: the API server would take it for the caller's, before the token.
        self._http = _http(place, login.trusting(place))
        self._local: Caller | None = None
        self._local_http: Http | None = None
        if local is not None:
            user = login.Login(local, quiet=True)
            self._local_http = _http(local, user.context())
            self._local = Caller(self._local_http, dict(user.headers()))

    async def close(self) -> None:
        """Close all connections; pending calls fail."""
        await self._http.close()
        if self._local_http is not None:
            await self._local_http.close()

    @property
    def local(self) -> Caller | None:
        """The local user."""
        return self._local

    async def problem(self) -> str:
        """What keeps the API server from answering anybody, as a sentence without its address; empty if it answers."""
        call = self._http.stream("GET", "/readyz", headers={"Accept": "*/*"}, silence=_PROBE, short=True)
        try:
            async with asyncio.timeout(_PROBE), call as answer:
                await answer.read(bounds.ANSWER.size)
        except (HttpFailed, TimeoutError) as e:
            log.warning("the API server does not answer: %s", e)
            return "the API server does not answer"
        # Whoever is not logged in may be refused; that is an answer, too.
        return f"the API server is not ready: it answers {answer.status}" if answer.status >= 500 else ""

    def with_token(self, token: str) -> Caller:
        """Whoever has this token, which can be sent in a header."""
        return Caller(self._http, {"Authorization": f"Bearer {token}"})


def annotation(obj: Object, name: str) -> str:
    """An annotation of an object; empty if it has none of that name."""
    about = obj.get("metadata") or {}
    return str((about.get("annotations") or {}).get(name) or "")


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except (HttpFailed, ValueError, LookupError, TypeError) as e:
        raise (ApiAbsent if isinstance(e, HttpUnsent) else ApiUnreachable)(
            f"the API server does not answer: {e}"
        ) from e


def _http(place: Place, context: ssl.SSLContext) -> Http:
    connector = partial(aiohttp.TCPConnector, ssl=context)
    return Http(place.server, connector, kept=_KEPT, connect=_CONNECT)


def _version(found: Object | None) -> str:
    about = (found or {}).get("metadata") or {}
    return f"{about.get('uid')}/{about.get('resourceVersion')}"
