"""What the gateway says about the API by itself: discovery and OpenAPI, as the API server and kubectl ask for it. Pure.

No resource here can be listed, watched, created or deleted, so whoever empties a namespace or saves it passes them by.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stromboli.gateway.operations import OPERATIONS, Operation
from stromboli.naming import AGENTS_API, AGENTS_GROUP, VERSION

Document = Mapping[str, Any]

_GROUP_VERSION = f"{AGENTS_GROUP}/{VERSION}"
_V3 = f"/openapi/v3/apis/{_GROUP_VERSION}"


@dataclass(frozen=True, slots=True)
class _Resource:
    name: str
    kind: str
    verbs: tuple[str, ...]


_RESOURCES = (
    _Resource("agentruns/log", "AgentRunLog", ("get",)),
    _Resource("agentsessions/messages", "AgentSessionMessages", ("get",)),
    # For RBAC it is listed too, but what comes is no list as kubectl and others know it, who look for the verb here.
    _Resource("images", "NodeImage", ("get",)),
    _Resource("claudestatus", "ClaudeStatus", ("get",)),
)


@dataclass(frozen=True, slots=True)
class Page:
    """A document as it is sent, with the hash by which whoever asks again recognizes it."""

    content: bytes
    hash: str

    @property
    def etag(self) -> str:
        return f'"{self.hash}"'


def pages(release: str) -> Mapping[str, Page]:
    """Every document by its path. `release` is the project's version."""
    v3 = _page(_openapi_v3(release))
    major, minor, *_ = release.split(".")
    return {
        "/apis": _page({"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group()]}),
        f"/apis/{AGENTS_GROUP}": _page({"kind": "APIGroup", "apiVersion": "v1", **_group()}),
        AGENTS_API: _page(_resources()),
        "/openapi/v2": _page(_openapi_v2(release)),
        "/openapi/v3": _page({"paths": {f"apis/{_GROUP_VERSION}": {"serverRelativeURL": f"{_V3}?hash={v3.hash}"}}}),
        _V3: v3,
        "/version": _page({"major": major, "minor": minor, "gitVersion": f"v{release}"}),
    }


def accepts_json(accept: str) -> bool:
    """Whether a plain JSON document is an answer: aggregated discovery, which is another, is not served. Whoever asks
    for that alone falls back to these documents, as for any server that is older.
    """
    media = [entry.strip().lower() for entry in accept.split(",")] if accept.strip() else ["*/*"]
    plain = [entry for entry in media if "as=" not in entry.replace(" ", "")]
    return any(entry.partition(";")[0].strip() in ("application/json", "application/*", "*/*") for entry in plain)


def _page(document: Document) -> Page:
    content = json.dumps(document, separators=(",", ":")).encode()
    return Page(content, hashlib.sha256(content).hexdigest()[:32])


def _group() -> dict[str, Any]:
    version = {"groupVersion": _GROUP_VERSION, "version": VERSION}
    return {"name": AGENTS_GROUP, "versions": [version], "preferredVersion": version}


def _resources() -> Document:
    resources = [
        {"name": r.name, "singularName": "", "namespaced": True, "kind": r.kind, "verbs": list(r.verbs)}
        for r in _RESOURCES
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": _GROUP_VERSION, "resources": resources}


def _info(release: str) -> Document:
    return {"title": "Stromboli: what is on the nodes", "version": release}


def _openapi_v2(release: str) -> Document:
    def operation(o: Operation) -> Document:
        return {
            "get": {
                "operationId": _operation_id(o),
                "description": o.says,
                "produces": [o.produces],
                "parameters": [
                    *({"name": n, "in": "path", "required": True, "type": "string"} for n in _in_path(o)),
                    *({"name": n, "in": "query", "type": t, "description": d} for n, t, d in o.parameters),
                ],
                "responses": {"200": {"description": "OK"}},
            }
        }

    paths = {f"{AGENTS_API}/{o.path}": operation(o) for o in OPERATIONS}
    return {"swagger": "2.0", "info": _info(release), "paths": paths, "definitions": {}}


def _openapi_v3(release: str) -> Document:
    def parameter(name: str, place: str, kind: str, says: str = "") -> Document:
        required = {"required": True} if place == "path" else {"description": says}
        return {"name": name, "in": place, "schema": {"type": kind}, **required}

    def operation(o: Operation) -> Document:
        return {
            "get": {
                "operationId": _operation_id(o),
                "description": o.says,
                "parameters": [
                    *(parameter(n, "path", "string") for n in _in_path(o)),
                    *(parameter(n, "query", t, d) for n, t, d in o.parameters),
                ],
                "responses": {"200": {"description": "OK", "content": {o.produces: {}}}},
            }
        }

    paths = {f"{AGENTS_API}/{o.path}": operation(o) for o in OPERATIONS}
    return {"openapi": "3.0.0", "info": _info(release), "paths": paths}


def _in_path(operation: Operation) -> list[str]:
    return [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]


def _operation_id(operation: Operation) -> str:
    """A name for generated clients, and the aggregator, which wants each to be unique."""
    words = [part for part in operation.path.split("/") if not part.startswith("{")]
    return "readAgentsStromboliDev" + "".join(word.capitalize() for word in words)
