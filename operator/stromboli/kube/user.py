"""The API server for people and their programs: the calls of the command line, by whatever a kubeconfig can hold.

It is synchronous, and made of the standard library alone: a command that only lists something should not take longer
to load than to answer. Every error is a LocalFailure that says what to do: ApiRefused if the API server answered with
one, ApiUnreachable if there was no answer, or one that broke off.

What an object's changes are followed by is in states.py; the operator's own calls are in client.py.
"""

from __future__ import annotations

import http.client
import json
import os
import select
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from stromboli import bounds
from stromboli.errors import ApiUnreachable, LocalFailure
from stromboli.kube import connection, kubeconfig, refusals
from stromboli.kube.kubeconfig import Place
from stromboli.kube.login import Login
from stromboli.naming import GROUP, VERSION, is_object_name

SILENCE = 75.0  # seconds without a byte of an answer: the operator's own limit is a minute
QUIET = 2.0  # the same, and for a connection, where nobody waits for an answer
PAGE = 100  # objects of a list that are read at a time: each may have a prompt of a megabyte
_PIECE = 64 * 1024

Object = Mapping[str, Any]
Query = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind as it stands in a path."""

    plural: str
    group: str = GROUP
    version: str = VERSION

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str = "") -> str:
        """The path of an object, or of a list: of one namespace, or of the cluster. Raises LocalFailure."""
        root = f"/apis/{self.group}" if self.group else "/api"
        parts = [root, self.version]
        parts += ["namespaces", _segment(namespace)] if namespace is not None else []
        parts += [self.plural]
        parts += [_segment(name)] if name is not None else []
        return "/".join([*parts, *([subresource] if subresource else [])])


RUNS = Resource("agentruns")
SESSIONS = Resource("agentsessions")
IMAGES = Resource("agentimages")
NAMESPACES = Resource("namespaces", "", "v1")
SECRETS = Resource("secrets", "", "v1")


class Stream:
    """An answer that is read as it comes: iterate over its bytes, once. A context manager.

    The iteration ends with the answer, and after `close`, which another thread may call. It raises ApiUnreachable if
    the connection is lost, or nothing comes for longer than the silence that was given.
    """

    def __init__(self, lost: Callable[[Exception], ApiUnreachable], answer: _Answer) -> None:
        self._lost, self._answer, self._closed = lost, answer, False

    @property
    def headers(self) -> http.client.HTTPMessage:
        """By name, in any case."""
        return self._answer.response.headers

    def __iter__(self) -> Iterator[bytes]:
        try:
            while not self._closed and (piece := self._answer.response.read1(_PIECE)):
                yield piece
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as e:
            if not self._closed:  # what `close` takes away in the middle is missed in all these ways
                raise self._lost(e) from e

    def lines(self) -> Iterator[bytes]:
        """The lines without their ends; one that is longer than an answer may be is an ApiUnreachable."""
        begun: list[bytes] = []
        size = 0
        for piece in self:
            whole, newline, rest = piece.rpartition(b"\n")
            if newline:
                yield from b"".join((*begun, whole)).split(b"\n")
                begun, size = [], 0
            begun.append(rest)
            size += len(rest)
            if size > bounds.ANSWER.size:
                raise self._lost(ValueError("a line of the answer is too long"))
        if last := b"".join(begun):
            yield last

    def close(self) -> None:
        self._closed = True
        self._answer.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class _Answer:
    connection: http.client.HTTPConnection
    sock: socket.socket
    response: http.client.HTTPResponse

    def end(self) -> None:
        """Close the connection, also under a thread that reads from it."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.connection.close()


@dataclass(frozen=True, slots=True)
class Listed:
    """The objects of a list, and the version from which a watch of them continues."""

    items: list[Object]
    version: str


class User:
    """One user of one cluster. Its methods may be called from several threads, and from a signal's handler.

    `namespace` is the kubeconfig's, unless another one was given. Names are checked: they become part of paths.
    """

    def __init__(self, place: Place, *, quiet: bool = False) -> None:
        """`quiet`: nothing is asked on the terminal, and nothing takes long, for completions."""
        self.place = place
        self.namespace = place.namespace
        self._login = Login(place, quiet=quiet)
        self._connect, self._silence = (QUIET, QUIET) if quiet else (connection.CONNECT, SILENCE)
        self._prefix = connection.path(place)
        self._idle: list[http.client.HTTPConnection] = []

    @classmethod
    def found(
        cls,
        *,
        path: Path | None = None,
        context: str = "",
        namespace: str | None = None,
        local: Callable[[], Path | None] = lambda: None,
        quiet: bool = False,
    ) -> Self:
        """The user of the kubeconfig that the environment selects: see `kubeconfig.find`. Raises LocalFailure."""
        found = cls(kubeconfig.find(os.environ, path=path, context=context, local=local), quiet=quiet)
        found.namespace = namespace or found.namespace
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close what is kept between calls. The next call opens another connection."""
        while self._idle:
            self._idle.pop().close()

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """An object. Raises ApiRefused, with status 404 if there is none."""
        return self.document(resource.path(namespace, name))

    def list(self, resource: Resource, namespace: str | None, *, labels: str = "", fields: str = "") -> Listed:
        """All objects, of a namespace or, with None, of the cluster."""
        items: list[Object] = []
        query = {"limit": str(PAGE), "labelSelector": labels, "fieldSelector": fields}
        for page in self.pages(resource, namespace, query):
            items += page.get("items") or ()
            version = _metadata(page).get("resourceVersion") or ""
        return Listed(items, version)

    def pages(
        self, resource: Resource, namespace: str | None, query: Query, accept: str = ""
    ) -> Iterator[dict[str, Any]]:
        """The pages of a list, whole: at least one; with `accept` in another form, such as tables."""
        asked = {name: value for name, value in query.items() if value}
        while True:
            page = self.document(resource.path(namespace), asked, accept=accept)
            yield page
            if not (more := _metadata(page).get("continue")):
                return
            asked["continue"] = str(more)

    def create(self, resource: Resource, namespace: str | None, body: Object) -> Object:
        """Create an object. Raises ApiRefused, with status 409 if there is one."""
        return self._sent("POST", resource.path(namespace), {"fieldValidation": "Strict"}, body)

    def patch(self, resource: Resource, namespace: str | None, name: str, change: Object) -> Object:
        """Change an object by a merge patch."""
        form = "application/merge-patch+json"
        return self._sent("PATCH", resource.path(namespace, name), {"fieldValidation": "Strict"}, change, form)

    def delete(self, resource: Resource, namespace: str | None, name: str, *, uid: str = "") -> Object:
        """Delete an object; with `uid` only that one: 409 if the name is another's now."""
        body = {"preconditions": {"uid": uid}} if uid else {}
        return self._sent("DELETE", resource.path(namespace, name), {}, body)

    def watch(
        self, resource: Resource, namespace: str | None, query: Query, *, seconds: float, accept: str = ""
    ) -> Stream:
        """The events of a watch, a JSON document in each line, for so many seconds. states.py follows objects."""
        asked = {"watch": "true", "timeoutSeconds": str(int(seconds)), **{k: v for k, v in query.items() if v}}
        return self.stream(resource.path(namespace), asked, silence=seconds + SILENCE, accept=accept)

    def document(self, path: str, query: Query | None = None, *, accept: str = "") -> dict[str, Any]:
        """What is at any path of the API server, in JSON."""
        return self._sent("GET", path, query or {}, accept=accept)

    def stream(self, path: str, query: Query | None = None, *, silence: float | None, accept: str = "") -> Stream:
        """What is at any path, as it comes; after `silence` seconds without a byte it counts as lost."""
        answer = self._answered("GET", path, query or {}, None, {"Accept": accept or "*/*"}, silence)
        return Stream(self._lost, answer)

    def _sent(
        self,
        method: str,
        path: str,
        query: Query,
        body: Object | None = None,
        form: str = "application/json",
        accept: str = "",
    ) -> dict[str, Any]:
        content = None if body is None else json.dumps(body).encode("utf-8", "surrogatepass")
        headers = {"Accept": accept or "application/json", **({"Content-Type": form} if body is not None else {})}
        answer = self._answered(method, path, query, content, headers, self._silence)
        read = self._read(answer)
        with self._failures():
            found = bounds.json_document(read, bounds.ANSWER)
        if not isinstance(found, dict):
            raise self._lost(ValueError("the answer is not an object"))
        return found

    def _answered(
        self,
        method: str,
        path: str,
        query: Query,
        body: bytes | None,
        headers: Mapping[str, str],
        silence: float | None,
    ) -> _Answer:
        """An answer that is no error, not read yet. Raises LocalFailure."""
        target = f"{self._prefix}{path}" + (f"?{urlencode(query)}" if query else "")
        answer = self._asked(method, target, body, headers, silence)
        if answer.response.status == 401 and self._login.can_change:
            answer.end()
            self.close()  # a connection has the certificate that it was made with
            self._login.renew()
            answer = self._asked(method, target, body, headers, silence)
        if answer.response.status < 300:
            return answer
        raise refusals.of_answer(answer.response.status, self._read(answer), path)

    def _asked(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str], silence: float | None
    ) -> _Answer:
        """One exchange. A GET is sent again if it broke off on a connection that had been kept."""
        own = self._login.headers()
        while True:
            kept = used = self._kept()
            try:
                with self._failures():
                    if used is None:
                        used = self._opened()
                    sock: socket.socket = used.sock
                    sock.settimeout(silence)
                    used.putrequest(method, target, skip_accept_encoding=True)
                    for name, value in (*headers.items(), *own):
                        used.putheader(name, value.encode("utf-8") if not value.isascii() else value)
                    if body is not None:
                        used.putheader("Content-Length", str(len(body)))
                    used.endheaders(body)
                    return _Answer(used, sock, used.getresponse())
            except ApiUnreachable:
                if used is not None:
                    used.close()
                if kept is None or method != "GET":
                    raise
            except BaseException:  # an interruption, too, leaves no connection open in the middle of an answer
                if used is not None:
                    used.close()
                raise

    def _kept(self) -> http.client.HTTPConnection | None:
        """A connection that is open. On one that the server has closed, there is something to read: the end."""
        while self._idle:
            kept = self._idle.pop()
            if not select.select([kept.sock], [], [], 0)[0]:
                return kept
            kept.close()
        return None

    def _opened(self) -> http.client.HTTPConnection:
        secure = self.place.server.startswith("https:")
        opened = connection.made(self.place, self._login.context() if secure else None, self._connect)
        try:
            opened.connect()
        except BaseException:  # an interruption, too
            opened.close()
            raise
        return opened

    def _read(self, answer: _Answer) -> bytes:
        """All of it; then its connection is kept."""
        try:
            with self._failures():
                read = _whole(answer.response)
        except BaseException:
            answer.end()
            raise
        self._keep(answer)
        return read

    def _keep(self, answer: _Answer) -> None:
        if answer.response.isclosed() and answer.connection.sock is not None and not answer.response.will_close:
            self._idle.append(answer.connection)
        else:
            answer.connection.close()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (OSError, http.client.HTTPException, ValueError) as e:  # ssl.SSLError is an OSError
            raise self._lost(e) from e

    def _lost(self, error: Exception) -> ApiUnreachable:
        if isinstance(error, ssl.SSLCertVerificationError):
            return ApiUnreachable(
                f"the certificate of {self.place.server} cannot be trusted: {error.verify_message}",
                f"certificate-authority and tls-server-name in {self.place.origin} say which one can be",
            )
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        what = "does not respond" if isinstance(error, OSError) else "gives no valid answer"
        return ApiUnreachable(
            f"the API server at {self.place.server} {what}: {why}",
            f"it was named by {self.place.origin}; on a local installation, `stromboli up` starts whatever is down",
        )


def _whole(response: http.client.HTTPResponse) -> bytes:
    read = response.read(bounds.ANSWER.size + 1)
    if len(read) > bounds.ANSWER.size:
        raise bounds.ANSWER.too_large()
    if response.length:  # it ended before its end
        raise http.client.IncompleteRead(read, response.length)
    return read


def _metadata(document: Object) -> Object:
    found = document.get("metadata")
    return found if isinstance(found, dict) else {}


def _segment(name: str) -> str:
    """A name as one segment of a path. Any other text could lead to another path."""
    if not is_object_name(name):
        raise LocalFailure(f"{name!r} is not a name", "names have lower case letters, digits, - and . only", 2)
    return name
