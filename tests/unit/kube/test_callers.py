"""Whom callers trust as the API server, and whether it answers anybody, asked without a login."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stromboli.errors import ApiUnreachable, LocalFailure
from stromboli.keys import sign
from stromboli.kube import caller
from stromboli.kube.caller import Callers
from stromboli.kube.kubeconfig import Place
from stromboli.kube.user import NAMESPACES
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


def test_certificates_that_cannot_be_used() -> None:
    with pytest.raises(LocalFailure, match="it: a certificate or key of the context here cannot be used"):
        Callers(Place("it", "https://127.0.0.1:1", context="here", authority=b"no certificate"))


async def test_whom_the_kubeconfig_does_not_verify(tmp_path: Path) -> None:
    authority = sign.authority(datetime.now(UTC))
    (tmp_path / "pair").write_text(authority["certificate"] + authority["key"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair")
    with FakeApiServer().serving(context) as server:
        server.add("namespaces", {"metadata": {"name": "there"}})
        for insecure in (True, False):
            callers = Callers(Place("it", server.url, insecure=insecure))
            try:
                call = callers.with_token("token").list(NAMESPACES, None)
                if insecure:
                    assert len((await call).items) == 1
                    continue
                with pytest.raises(ApiUnreachable, match="certificate"):
                    await call
            finally:
                await callers.close()
