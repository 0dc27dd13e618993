"""A fake API server with many large objects: the part that the operator's survey, queues and status writes use.

Its objects share one spec of a megabyte, so that the fake itself stays small. A real one would take minutes to fill.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

SPACE, SESSION, NODE = "space", "story", "node"
KIND = "/apis/stromboli.dev/v1alpha1"
WORDS = "x" * 900_000
DENSE: list[list[None]] = [[]] * 30_000  # 90 kB of JSON, and twenty times that as Python objects
SPEC = {"prompt": WORDS, "image": "python:3.12", "session": {"name": SESSION}, "claude": {"settings": {"a": DENSE}}}
QUEUED = [{"type": "Succeeded", "status": "Unknown", "reason": "Queued", "message": "m", "lastTransitionTime": "t"}]
ENDED = [{"type": "Succeeded", "status": "True", "reason": "Completed", "message": "m", "lastTransitionTime": "t"}]


@dataclass
class Large:
    """Runs by name: metadata and status; `spec` is shared by all."""

    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    spec: bytes = json.dumps(SPEC).encode()
    version: int = 10

    def fill(self, *, new: int, queued: int, finished: int) -> Self:
        """Add `new` and `queued` runs of one session that another node's run holds, and `finished` runs."""
        self._add("current", {"node": "elsewhere", "conditions": QUEUED, "session": {"name": SESSION, "ticket": "0"}})
        for n in range(new):
            self._add(f"new-{n}", None)
        for n in range(queued):
            self._add(f"queued-{n}", {"conditions": QUEUED, "session": {"name": SESSION, "ticket": "1"}})
        answer = {"text": "y" * 30_000, "structured": DENSE}
        for n in range(finished):
            self._add(f"finished-{n}", {"conditions": ENDED, "completionTime": "t", "result": answer})
        return self

    def _add(self, name: str, status: dict[str, Any] | None) -> None:
        self.version += 1
        meta = {"name": name, "namespace": SPACE, "uid": str(uuid.uuid5(uuid.NAMESPACE_DNS, name)), "generation": 1}
        meta |= {"creationTimestamp": "2026-01-31T12:00:00Z", "resourceVersion": str(self.version)}
        self.runs[name] = {"metadata": meta, "status": json.dumps(status).encode()}

    def _bytes(self, name: str) -> bytes:
        run = self.runs[name]
        head = b'{"apiVersion":"stromboli.dev/v1alpha1","kind":"AgentRun","metadata":'
        return b"".join(
            (head, json.dumps(run["metadata"]).encode(), b',"spec":', self.spec, b',"status":', run["status"], b"}")
        )

    @asynccontextmanager
    async def served(self, folder: Path) -> AsyncIterator[Path]:
        """Serve inside the block. Yields the path of a kubeconfig for it."""
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.router.add_get(f"{KIND}/agentruns", self._list)
        app.router.add_get(f"{KIND}/namespaces/{SPACE}/agentruns/{{name}}", self._get)
        app.router.add_put(f"{KIND}/namespaces/{SPACE}/agentruns/{{name}}/status", self._put)
        app.router.add_get(f"{KIND}/agentsessions", self._sessions)
        app.router.add_get(f"{KIND}/namespaces/{SPACE}/agentsessions/{SESSION}", self._session)
        app.router.add_get(f"{KIND}/agentimages", self._none)
        app.router.add_get(f"{KIND}/agentpolicies", self._none)
        app.router.add_get(f"/api/v1/namespaces/{SPACE}", self._namespace)
        async with TestServer(app) as server:
            user = {"name": "u", "user": {"token": "t"}}
            context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
            cluster = {"name": "c", "cluster": {"server": str(server.make_url("")).rstrip("/")}}
            config = {"current-context": "c", "contexts": [context], "clusters": [cluster], "users": [user]}
            path = folder / "kubeconfig"
            path.write_text(yaml.safe_dump(config))
            yield path

    async def _list(self, request: web.Request) -> web.Response:
        names, start = sorted(self.runs), int(request.query.get("continue", "0"))
        end = start + int(request.query.get("limit", str(len(names))))
        meta = {"resourceVersion": str(self.version)} | ({"continue": str(end)} if end < len(names) else {})
        items = b",".join(map(self._bytes, names[start:end]))
        body = b'{"metadata":' + json.dumps(meta).encode() + b',"items":[' + items + b"]}"
        return web.Response(body=body, content_type="application/json")

    async def _get(self, request: web.Request) -> web.Response:
        return web.Response(body=self._bytes(request.match_info["name"]), content_type="application/json")

    async def _put(self, request: web.Request) -> web.Response:
        run = self.runs[request.match_info["name"]]
        self.version += 1
        run["metadata"] |= {"resourceVersion": str(self.version)}
        run["status"] = json.dumps((await request.json())["status"]).encode()
        return web.json_response({"metadata": run["metadata"]})

    async def _sessions(self, _: web.Request) -> web.Response:
        return web.json_response({"metadata": {}, "items": [self._story()]})

    async def _session(self, _: web.Request) -> web.Response:
        return web.json_response(self._story())

    async def _none(self, _: web.Request) -> web.Response:
        return web.json_response({"metadata": {}, "items": []})

    async def _namespace(self, _: web.Request) -> web.Response:
        return web.json_response({"metadata": {"name": SPACE}})

    def _story(self) -> dict[str, Any]:
        current = {"name": "current", "uid": self.runs["current"]["metadata"]["uid"]}
        status = {"node": NODE, "currentRun": current, "conditions": [{"type": "Ready", "status": "True"}]}
        meta = {"name": SESSION, "namespace": SPACE, "uid": str(uuid.UUID(int=1)), "resourceVersion": "1"}
        return {"apiVersion": "stromboli.dev/v1alpha1", "kind": "AgentSession", "metadata": meta, "status": status}
