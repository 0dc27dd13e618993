"""An API server as far as kopf needs one to watch the operator's kinds; and the ways in which one can fail it.

Only metadata is served, and only one object of each kind, if any.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from stromboli.kube.client import WATCHED
from stromboli.naming import GROUP, VERSION


def _resource(kind: str, *, namespaced: bool = True) -> dict[str, Any]:
    return {
        "name": kind,
        "singularName": kind,
        "kind": kind,
        "namespaced": namespaced,
        "verbs": ["list", "watch", "get"],
    }


def _group(name: str, version: str) -> dict[str, Any]:
    found = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [found], "preferredVersion": found}


def _version(obj: dict[str, Any]) -> int:
    return int(obj["metadata"]["resourceVersion"])


# What kopf reads before it watches anything: the operator's kinds, and those that kopf itself waits for.
DISCOVERY: dict[str, dict[str, Any]] = {
    "/api": {"versions": ["v1"]},
    "/api/v1": {"resources": [_resource("namespaces", namespaced=False), _resource("events")]},
    "/apis": {"groups": [_group(GROUP, VERSION), _group("apiextensions.k8s.io", "v1")]},
    "/apis/apiextensions.k8s.io/v1": {"resources": [_resource("customresourcedefinitions", namespaced=False)]},
    f"/apis/{GROUP}/{VERSION}": {
        "resources": [_resource(kind, namespaced=kind != "agentpolicies") for kind in WATCHED]
    },
}


class WatchServer:
    """`refuses` is the status of every answer, if it is set; with `mute`, watches are accepted and nothing is sent."""

    def __init__(self) -> None:
        self.refuses: int | None = None
        self.mute = False
        self.asked: Counter[str] = Counter()  # requests by kind: LIST and WATCH
        self._versions = itertools.count(1)
        self._objects: dict[str, dict[str, Any]] = {}
        self._streams: set[tuple[str, asyncio.Queue[bytes | None]]] = set()
        app = web.Application()
        app.router.add_get("/{path:.*}", self._get)
        self.server = TestServer(app)

    def put(self, kind: str, uid: str) -> None:
        """Create or change an object; whoever watches is told, unless the server is mute."""
        version = str(next(self._versions))
        meta = {"name": uid, "namespace": "ns", "uid": uid, "resourceVersion": version, "generation": 1}
        self._objects[kind] = {"metadata": {**meta, "creationTimestamp": "2026-01-31T12:00:00Z"}}
        self.say(kind, {"type": "MODIFIED", "object": self._objects[kind]})

    def say(self, kind: str, line: Any) -> None:
        """Send a line to whoever watches."""
        for watched, lines in self._streams:
            if watched == kind and not self.mute:
                lines.put_nowait(json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def drop(self) -> None:
        """End all watches."""
        for _, lines in self._streams:
            lines.put_nowait(None)

    async def _get(self, request: web.Request) -> web.StreamResponse:
        kind = request.path.rpartition("/")[2]
        watches = "watch" in request.query
        self.asked[f"{'WATCH' if watches else 'LIST'} {kind}"] += 1
        if self.refuses is not None:
            return web.json_response({"kind": "Status", "code": self.refuses, "message": "no"}, status=self.refuses)
        if request.path in DISCOVERY:
            return web.json_response(DISCOVERY[request.path])
        if watches:
            return await self._watch(request, kind)
        items = [self._objects[kind]] if kind in self._objects else []
        return web.json_response({"metadata": {"resourceVersion": str(next(self._versions))}, "items": items})

    async def _watch(self, request: web.Request, kind: str) -> web.StreamResponse:
        response = web.StreamResponse()
        lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._streams.add((kind, lines))
        try:
            await response.prepare(request)
            if (found := self._objects.get(kind)) is not None and _version(found) > int(
                request.query["resourceVersion"]
            ):
                self.say(kind, {"type": "MODIFIED", "object": found})
            while (line := await lines.get()) is not None:
                await response.write(line)
        finally:
            self._streams.discard((kind, lines))
        return response
