"""An API server in memory, over real HTTP, for clients: objects, merge patches, watches, tables, and whatever a test
puts at other paths. tests/contract/cluster/test_user.py and test_caller.py ask the same of it and of a real one.
"""

from __future__ import annotations

import base64
import copy
import json
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from stromboli import naming
from stromboli.naming import API_VERSION

Object = dict[str, Any]
LIMIT = 20.0
KINDS = {"agentruns": "AgentRun", "agentsessions": "AgentSession", "agentimages": "AgentImage"}
CORE = {"secrets": "Secret", "configmaps": "ConfigMap", "namespaces": "Namespace"}


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any = None


@dataclass(frozen=True)
class Reply:
    """An answer of a test's own. `body` is encoded as JSON; `pieces` are sent in chunks as they come instead."""

    status: int = 200
    body: Any = None
    pieces: Iterator[bytes] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


Route = Callable[[Request], Reply]


class Refusal(Exception):
    """What is answered instead."""

    def __init__(self, code: int, reason: str, message: str, name: str = "") -> None:
        super().__init__(message)
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "message": message,
            "reason": reason,
            "details": {"name": name},
            "code": code,
        }


class FakeApiServer:
    """`objects` by (plural, namespace, name). `before` sees each request first, and may raise a Refusal; `admit` each
    object that is created. `routes` are answered by a test. `requests` were all of them. `users` by their tokens are
    the only ones, if it is set.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.requests: list[Request] = []
        self.routes: dict[str, Route] = {}
        self.users: dict[str, str] | None = None
        self.before: Callable[[Request], None] = lambda request: None
        self.admit: Callable[[Object], None] = lambda obj: None
        self.changed: Callable[[str, Object], None] = lambda event, obj: None
        self.watches = 0  # that are open
        self.url = ""
        self.port = 0
        self._version = 100
        self._events: list[tuple[int, str, str, Object]] = []
        self._news = threading.Condition()
        self._broken = 0
        self._open = True

    def add(self, plural: str, obj: Object) -> Object:
        """Create an object, or replace it; `metadata` needs a namespace and a name only."""
        with self._news:
            meta = obj.setdefault("metadata", {})
            key = (plural, meta.get("namespace", ""), meta["name"])
            obj.setdefault("apiVersion", "v1" if plural in CORE else API_VERSION)
            obj.setdefault("kind", KINDS.get(plural) or CORE.get(plural, plural))
            meta.setdefault("uid", str(uuid.uuid4()))
            meta.setdefault("creationTimestamp", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
            meta.setdefault("generation", 1)
            return self._stored("MODIFIED" if key in self.objects else "ADDED", key, obj)

    def status(self, name: str, status: Object, namespace: str = "ns", plural: str = "agentruns") -> Object:
        """Set the status of an object."""
        return self.add(plural, {**copy.deepcopy(self.objects[plural, namespace, name]), "status": status})

    def remove(self, name: str, namespace: str = "ns", plural: str = "agentruns") -> Object:
        with self._news:
            key = (plural, namespace, name)
            return self._stored("DELETED", key, self.objects.pop(key))

    def drop(self) -> None:
        """Break off all watches that are open, in the middle."""
        with self._news:
            self._broken += 1
            self._news.notify_all()

    def named(self, method: str, path: str = "") -> list[Request]:
        """The requests of that method whose path ends so."""
        return [each for each in self.requests if each.method == method and each.path.endswith(path)]

    def until(self, what: Callable[[], object], why: str) -> None:
        """Wait until something is so."""
        ends = time.monotonic() + LIMIT
        with self._news:
            while not what():
                assert time.monotonic() < ends, f"not in {LIMIT:.0f} s: {why}"
                self._news.wait(0.02)

    @contextmanager
    def serving(self, tls: ssl.SSLContext | None = None) -> Iterator[FakeApiServer]:
        outer = self

        class Handler(_Handler):
            fake = outer

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = server.server_address[1]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._open = False
            self.drop()
            server.shutdown()
            server.server_close()
            thread.join(LIMIT)

    def _stored(self, event: str, key: tuple[str, str, str], obj: Object) -> Object:
        self._version += 1
        obj = copy.deepcopy(obj)
        obj["metadata"]["resourceVersion"] = str(self._version)
        if event != "DELETED":
            self.objects[key] = obj
        self._events.append((self._version, event, key[0], obj))
        self._news.notify_all()
        return obj

    def answer(self, request: Request) -> Reply:
        """Raises Refusal."""
        self.requests.append(request)
        user = self._user(request)
        self.before(request)
        if request.path in self.routes:
            return self.routes[request.path](request)
        parts = [unquote(part) for part in request.path.strip("/").split("/")]
        match parts:
            case ["apis", naming.GROUP, _, "namespaces", namespace, plural] if plural in KINDS:
                return self._all(request, plural, namespace)
            case ["apis", naming.GROUP, _, "namespaces", namespace, plural, name] if plural in KINDS:
                return self._one(request, plural, namespace, name)
            case ["apis", naming.GROUP, _, plural] if plural in KINDS:
                return self._all(request, plural, None)
            case ["api", "v1", "namespaces"]:
                return self._all(request, "namespaces", None)
            case ["api", "v1", "namespaces", namespace, plural] if plural in CORE:
                return self._all(request, plural, namespace)
            case ["api", "v1", "namespaces", namespace, plural, name] if plural in CORE:
                return self._one(request, plural, namespace, name)
            case ["apis", "authentication.k8s.io", "v1", "selfsubjectreviews"]:
                return Reply(201, {**request.body, "status": {"userInfo": {"username": user}}})
        raise Refusal(404, "NotFound", "the server could not find the requested resource")

    def _user(self, request: Request) -> str:
        token = request.headers.get("authorization", "").partition(" ")[2]
        if self.users is None:
            return token
        if token not in self.users:
            raise Refusal(401, "Unauthorized", "Unauthorized")
        return self.users[token]

    def _all(self, request: Request, plural: str, namespace: str | None) -> Reply:
        if request.method == "POST":
            return self._create(request, plural, namespace or "")
        if request.query.get("watch") == "true":
            return Reply(pieces=self._watch(request, plural, namespace))
        with self._news:
            items = [obj for (kind, _, _), obj in sorted(self.objects.items()) if kind == plural]
            items = [obj for obj in items if _is_wanted(obj, request, namespace)]
            version = str(self._version)
        first, limit = int(request.query.get("continue", 0)), int(request.query.get("limit") or 500)
        meta = {"resourceVersion": version}
        if len(items) > first + limit:
            meta["continue"] = str(first + limit)
        page = items[first : first + limit]
        if _wants_table(request):
            return Reply(body=_table(page, meta))
        if _wants_heads(request):
            page = [_head(obj) for obj in page]
        return Reply(body={"kind": "List", "metadata": meta, "items": page})

    def _create(self, request: Request, plural: str, namespace: str) -> Reply:
        obj = copy.deepcopy(request.body)
        meta = obj.setdefault("metadata", {})
        meta["namespace"] = namespace
        if not meta.get("name"):
            meta["name"] = f"{meta['generateName']}{uuid.uuid4().hex[:5]}"
        name = meta["name"]
        for key, value in obj.pop("stringData", {}).items():
            obj.setdefault("data", {})[key] = base64.b64encode(value.encode()).decode()
        self.admit(obj)
        with self._news:  # of several requests only one creates it
            if (plural, namespace, name) in self.objects:
                raise Refusal(409, "AlreadyExists", f'{_kind(plural)} "{name}" already exists', name)
            made = self.add(plural, obj)
        self.changed("ADDED", made)
        return Reply(201, made)

    def _one(self, request: Request, plural: str, namespace: str, name: str) -> Reply:
        found = self.objects.get((plural, namespace, name))
        if found is None:
            raise Refusal(404, "NotFound", f'{_kind(plural)} "{name}" not found', name)
        if request.method == "GET":
            if _wants_table(request):
                return Reply(body=_table([found], {}))
            return Reply(body=_head(found) if _wants_heads(request) else found)
        if request.method == "PATCH":
            changed = self._patched(request, plural, namespace, name)
            self.changed("MODIFIED", changed)
            return Reply(body=changed)
        uid = ((request.body or {}).get("preconditions") or {}).get("uid")
        if uid and uid != found["metadata"]["uid"]:
            raise Refusal(409, "Conflict", "Precondition failed: UID", name)
        self.remove(name, namespace, plural)
        return Reply(body={"kind": "Status", "status": "Success"})

    def _patched(self, request: Request, plural: str, namespace: str, name: str) -> Object:
        with self._news:
            found = self.objects[plural, namespace, name]
            if request.body.get("metadata", {}).get("uid", found["metadata"]["uid"]) != found["metadata"]["uid"]:
                raise Refusal(409, "Conflict", "Precondition failed: UID", name)
            if request.body.get("metadata", {}).get("resourceVersion", version := _version(found)) != version:
                modified = "the object has been modified; please apply your changes to the latest version and try again"
                said = f'Operation cannot be fulfilled on {_kind(plural)} "{name}": {modified}'
                raise Refusal(409, "Conflict", said, name)
            return self.add(plural, _merged(found, request.body))

    def _watch(self, request: Request, plural: str, namespace: str | None) -> Iterator[bytes]:
        after = int(request.query.get("resourceVersion") or 0)
        ends = time.monotonic() + float(request.query.get("timeoutSeconds", 60))
        broken = self._broken
        self.watches += 1
        try:
            while self._open and time.monotonic() < ends:
                with self._news:
                    news = [e for e in self._events if e[0] > after and e[2] == plural]
                    if not news:
                        self._news.wait(min(0.5, max(0.0, ends - time.monotonic())))
                    if self._broken != broken:
                        raise ConnectionAbortedError
                for version, event, _, obj in news:
                    after = version
                    if _is_wanted(obj, request, namespace):
                        shown = _table([obj], {}) if _wants_table(request) else obj
                        yield json.dumps({"type": event, "object": shown}).encode() + b"\n"
        finally:
            self.watches -= 1


class _Handler(BaseHTTPRequestHandler):
    fake: FakeApiServer
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        where = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        content = self.rfile.read(length)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = json.loads(content) if content else None
        request = Request(self.command, where.path, dict(parse_qsl(where.query)), headers, body)
        try:
            reply = self.fake.answer(request)
        except Refusal as refusal:
            reply = Reply(refusal.status["code"], refusal.status)  # type: ignore[arg-type]
        try:
            self._send(reply)
        except OSError:
            self.close_connection = True

    do_GET = do_POST = do_PATCH = do_DELETE = _serve

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.pieces is None:
            content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in reply.pieces:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:
        return


def _kind(plural: str) -> str:
    """As it stands in messages."""
    return plural if plural in CORE else f"{plural}.{naming.GROUP}"


def _version(obj: Object) -> str:
    version: str = obj["metadata"]["resourceVersion"]
    return version


def _is_wanted(obj: Object, request: Request, namespace: str | None) -> bool:
    meta = obj["metadata"]
    fields = [pair.split("=") for pair in request.query.get("fieldSelector", "").split(",") if pair]
    wanted = dict(pair.split("=") for pair in request.query.get("labelSelector", "").split(",") if pair)
    labels = meta.get("labels") or {}
    return (
        namespace in (None, meta.get("namespace"))
        and all(labels.get(k) == v for k, v in wanted.items())
        and all(_at(obj, path) == value for path, value in fields)
    )


def _at(obj: Any, path: str) -> str:
    """What a field selector compares."""
    for key in path.split("."):
        obj = (obj or {}).get(key)
    return obj or ""


def _merged(old: Any, change: Any) -> Any:
    if not isinstance(change, dict):
        return change
    merged = dict(old) if isinstance(old, dict) else {}
    for key, value in change.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged


def _wants_table(request: Request) -> bool:
    return "as=Table" in request.headers.get("accept", "")


def _wants_heads(request: Request) -> bool:
    return "as=PartialObjectMetadata" in request.headers.get("accept", "")


def _head(obj: Object) -> Object:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def _table(items: list[Object], meta: Object) -> Object:
    """Some of the columns that the kinds have."""
    columns = [("Name", 0), ("Succeeded", 0), ("Reason", 0), ("Age", 0), ("Session", 1)]
    rows = []
    for obj in items:
        ends = {c["type"]: c for c in (obj.get("status") or {}).get("conditions", ())}
        end = ends.get("Succeeded", {})
        session = ((obj.get("spec") or {}).get("session") or {}).get("name")
        cells = [obj["metadata"]["name"], end.get("status"), end.get("reason"), "5s", session]
        rows.append({"cells": cells, "object": _head(obj)})
    defined = [{"name": name, "type": "string", "priority": priority} for name, priority in columns]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta,
        "columnDefinitions": defined,
        "rows": rows,
    }
