"""kopf's connection: what it asks the API server for, and what it gets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import kopf
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from stromboli.handlers import connection
from stromboli.health.watched import Watched
from stromboli.kube.client import WATCHED

RUNS = "/apis/stromboli.dev/v1alpha1/agentruns"


class Asked:
    """A server that answers everything with one document, and remembers what it was asked."""

    def __init__(self) -> None:
        self.accepts: dict[str, str] = {}
        self.answer: Any = {"items": None}
        app = web.Application()
        app.router.add_get("/{path:.*}", self._get)
        self.server = TestServer(app)

    async def _get(self, request: web.Request) -> web.Response:
        self.accepts[str(request.rel_url)] = request.headers["Accept"]
        return web.json_response(self.answer)


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    made = Asked()
    await made.server.start_server()
    yield made
    await made.server.close()


@pytest.fixture
def watched() -> Watched:
    return Watched(WATCHED)


@pytest.fixture
async def session(
    asked: Asked, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[kopf.AiohttpSession]:
    info = kopf.ConnectionInfo(server=str(asked.server.make_url("")))
    monkeypatch.setattr(kopf, "login_with_service_account", lambda **_: None)
    monkeypatch.setattr(kopf, "login_with_kubeconfig", lambda **_: info)
    made = await connection.login(watched)
    assert made is not None
    yield made
    await made.aiohttp_session.close()


async def test_of_what_may_be_large_metadata_alone_is_asked_for(asked: Asked, session: kopf.AiohttpSession) -> None:
    for path in (
        RUNS,
        f"{RUNS}?watch=true",
        "/apis/stromboli.dev/v1alpha1/agentpolicies",
        "/apis/stromboli.dev/v1alpha1",
    ):
        async with session.aiohttp_session.get(f"{session.server}{path}") as response:
            assert response.status == 200
    assert "as=PartialObjectMetadataList;" in asked.accepts[RUNS]
    assert "as=PartialObjectMetadata;" in asked.accepts[f"{RUNS}?watch=true"]
    others = [accept for path, accept in asked.accepts.items() if "agentruns" not in path]
    assert others
    assert not [accept for accept in others if "Partial" in accept]


@pytest.mark.parametrize(
    ("answer", "read"), [({"items": None}, {"items": []}), ({"items": [1]}, {"items": [1]}), ({}, {})]
)
async def test_an_empty_list_of_metadata_is_a_list(
    asked: Asked, session: kopf.AiohttpSession, answer: Any, read: Any
) -> None:
    """The API server says null, and kopf would end its watch of that kind."""
    asked.answer = answer
    async with session.aiohttp_session.get(f"{session.server}{RUNS}") as response:
        assert await response.json() == read
