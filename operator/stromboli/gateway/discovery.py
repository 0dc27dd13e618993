"""What the gateway says about the API by itself: discovery and OpenAPI, as the API server and kubectl ask for it. Pure.

No resource here can be listed, watched, created or deleted, so whoever empties a namespace or saves it passes them by.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
)


@dataclass(frozen=True, slots=True)
class _Operation:
    """One path of the API below the version, for OpenAPI; `parameters` by name with a type and a description."""

    path: str
    says: str
    produces: str
    parameters: tuple[tuple[str, str, str], ...] = ()


_OPERATIONS = (
    _Operation(
        "namespaces/{namespace}/agentruns/{name}/log",
        "What a step of an AgentRun has printed, as it is printed.",
        "text/plain",
        (
            ("uid", "string", "The UID that the AgentRun must have."),
            ("attempt", "integer", "The attempt; the last one by default."),
            ("step", "string", "agent (the default), stderr, supervisor, or a hook such as postStart[0]."),
            ("service", "string", "A service of the run's stack, in place of a step."),
            ("offset", "integer", "The first byte, counted from the beginning of the output."),
            ("limitBytes", "integer", "The most bytes to send."),
            ("sinceSeconds", "integer", "Only what was printed in so many seconds."),
            ("follow", "boolean", "Send what is printed until the step ends."),
        ),
    ),
    _Operation(
        "namespaces/{namespace}/agentsessions/{name}/messages",
        "The conversation of an AgentSession.",
        "application/json",
    ),
    _Operation(
        "namespaces/{namespace}/images",
        "The images of a node that runs of a namespace may use.",
        "application/x-ndjson",
        (("node", "string", "The node; any by default."),),
    ),
    _Operation(
        "namespaces/{namespace}/images/inspect",
        "What is in an image.",
        "application/json",
        (("reference", "string", "The image."), ("node", "string", "The node; any by default.")),
    ),
    _Operation(
        "namespaces/{namespace}/images/search",
        "Images in the registries that a node searches.",
        "application/json",
        (
            ("query", "string", "The words to search for."),
            ("limit", "integer", "The most results of each registry."),
            ("node", "string", "The node; any by default."),
        ),
    ),
    _Operation(
        "images",
        "All images of a node.",
        "application/x-ndjson",
        (
            ("namespace", "string", "The namespace whose runs could use them."),
            ("node", "string", "The node; any by default."),
        ),
    ),
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
    def operation(o: _Operation) -> Document:
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

    paths = {f"{AGENTS_API}/{o.path}": operation(o) for o in _OPERATIONS}
    return {"swagger": "2.0", "info": _info(release), "paths": paths, "definitions": {}}


def _openapi_v3(release: str) -> Document:
    def parameter(name: str, place: str, kind: str, says: str = "") -> Document:
        required = {"required": True} if place == "path" else {"description": says}
        return {"name": name, "in": place, "schema": {"type": kind}, **required}

    def operation(o: _Operation) -> Document:
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

    paths = {f"{AGENTS_API}/{o.path}": operation(o) for o in _OPERATIONS}
    return {"openapi": "3.0.0", "info": _info(release), "paths": paths}


def _in_path(operation: _Operation) -> list[str]:
    return [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]


def _operation_id(operation: _Operation) -> str:
    """A name for generated clients, and the aggregator, which wants each to be unique."""
    words = [part for part in operation.path.split("/") if not part.startswith("{")]
    return "readAgentsStromboliDev" + "".join(word.capitalize() for word in words)
