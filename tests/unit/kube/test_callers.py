"""Whether the API server answers anybody, asked without a login."""

from __future__ import annotations

import pytest

from stromboli.kube import caller
from stromboli.kube.caller import Callers
from stromboli.kube.kubeconfig import Place
from tests.support.fake_api_server import FakeApiServer, Refusal, Reply, Request


def refused(request: Request) -> Reply:
    raise Refusal(401, "Unauthorized", "Unauthorized")


@pytest.mark.parametrize(
    ("route", "problem"),
    [
        (lambda request: Reply(body="ok"), ""),
        (refused, ""),
        (lambda request: Reply(500, body="[-]etcd failed"), "the API server is not ready: it answers 500"),
    ],
)
async def test_it_answers(route: object, problem: str) -> None:
    with FakeApiServer().serving() as server:
        server.routes["/readyz"] = route  # type: ignore[assignment]
        callers = Callers(Place("it", server.url, token="the gateway's own"))
        try:
            assert await callers.problem() == problem
        finally:
            await callers.close()
        assert "authorization" not in server.requests[0].headers


async def test_it_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller, "_PROBE", 0.3)
    with FakeApiServer().serving() as server:
        callers = Callers(Place("it", server.url))
    try:
        assert await callers.problem() == "the API server does not answer"
    finally:
        await callers.close()
