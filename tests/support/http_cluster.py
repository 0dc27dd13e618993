"""The HTTP API before a cluster in memory, for tests of its calls: the real application on a port of its own, which
asks an API server in memory (fake_api_server.py) as whoever calls.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import httpx2
from fastapi import FastAPI
from pydantic import BaseModel, ValidationError

from stromboli.httpapi import server
from stromboli.httpapi.app import application, equip
from stromboli.httpapi.caller import Access
from stromboli.httpsettings import HttpSettings
from stromboli.keys import sign
from stromboli.kube.caller import Callers
from stromboli.kube.kubeconfig import Place
from stromboli.models.agentimage import AgentImageSpec
from stromboli.models.agentrun import AgentRunSpec
from stromboli.models.agentsession import AgentSessionSpec
from tests.support import builders
from tests.support.builders import Modifier
from tests.support.fake_api_server import FakeApiServer, Object, Refusal

LIMIT = 20.0  # seconds for anything that is waited for here
NAMESPACE = "ns"  # of calls that name none
LOCAL = "local"  # the local user's token
# Nothing here speaks TLS, but loading the machine's own authorities takes longer than most tests.
_AUTHORITY = sign.authority(datetime.now(UTC))["certificate"].encode()
# Applications that nobody uses: to make one takes longer than most tests, and `equip` leaves nothing of the last test.
_IDLE: list[FastAPI] = []
_SPECS: dict[str, type[BaseModel]] = {
    "AgentRun": AgentRunSpec,
    "AgentSession": AgentSessionSpec,
    "AgentImage": AgentImageSpec,
}


@dataclass(frozen=True)
class HttpCluster:
    """`api` has the objects, and what was asked of it; `http` calls the HTTP API at `url` as the local user. To cancel
    `serving` stops it.
    """

    api: FakeApiServer
    http: httpx2.AsyncClient
    url: str
    serving: asyncio.Task[None]

    def run(self, name: str, *modifiers: Modifier, **spec: Any) -> Object:
        """Create a run, as kubectl would, and return it as it is then; see builders for the modifiers."""
        made = builders.run(builders.named(name), builders.having(**spec), *modifiers)
        for field in ("uid", "resourceVersion"):
            del made["metadata"][field]
        made["metadata"]["namespace"] = NAMESPACE
        return self.api.add("agentruns", made)

    def progress(self, name: str, *modifiers: Modifier) -> Object:
        """Change a run as the operator would, such as `at(Reason.Running)`."""
        found = self.api.objects["agentruns", NAMESPACE, name]
        for modify in modifiers:
            found = modify(found)
        return self.api.add("agentruns", found)

    def session(self, name: str, **status: Any) -> Object:
        """Create a session of that status."""
        return self.api.add("agentsessions", {**_named(name), "spec": {}, "status": status})

    async def until(self, what: Callable[[], object], why: str) -> None:
        """Wait until something is so, while calls are answered."""
        ends = time.monotonic() + LIMIT
        while not what():
            assert time.monotonic() < ends, f"not in {LIMIT:.0f} s: {why}"
            await asyncio.sleep(0.01)


@asynccontextmanager
async def http_cluster(
    settings: HttpSettings | None = None, *, local: bool = True, api: FakeApiServer | None = None, **state: Any
) -> AsyncIterator[HttpCluster]:
    """Both, up inside the block; without `local`, each call needs a token. With `api`, before that one, as another
    replica would be. `state` goes to `application`.
    """
    if api is None:
        with FakeApiServer().serving() as made:
            made.admit = _admit
            async with http_cluster(settings, local=local, api=made, **state) as cluster:
                yield cluster
        return
    place = Place("the test", api.url, namespace=NAMESPACE, authority=_AUTHORITY)
    callers = Callers(place, replace(place, token=LOCAL) if local else None)
    app = _IDLE.pop() if _IDLE else application(HttpSettings(), None, "")
    equip(app, settings or HttpSettings(), Access(callers, NAMESPACE), "0.0.0-test", **state)
    with server.listening("127.0.0.1", 0) as sock:
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        serving = asyncio.create_task(server.serve(app, sock))
        try:
            async with httpx2.AsyncClient(base_url=url, timeout=LIMIT, trust_env=False, verify=False) as http:
                yield HttpCluster(api, http, url, serving)
        finally:
            serving.cancel()
            await asyncio.wait([serving])
            await callers.close()
            _IDLE.append(app)


def _admit(obj: Object) -> None:
    """As the schemas of the CRDs would."""
    if (spec := _SPECS.get(obj.get("kind", ""))) is None:
        return
    name = obj["metadata"]["name"]
    try:
        spec.model_validate(obj["spec"])
    except ValidationError as error:
        raise Refusal(422, "Invalid", f'{obj["kind"]} "{name}" is invalid: {error}', name) from error


def _named(name: str) -> Object:
    return {"metadata": {"name": name, "namespace": NAMESPACE}}
