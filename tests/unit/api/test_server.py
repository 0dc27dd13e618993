"""How the read API is served: to the gateway alone, with an address that the gateway finds, once there are keys."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from aiohttp import web

from stromboli.api import server
from stromboli.api.server import serving
from stromboli.errors import ClusterUnavailable, Conflict, InvalidSettings, StromboliError
from stromboli.keys import certificates, contexts, sign
from stromboli.keys.certificates import Authority, Leaf, Subject
from stromboli.keys.keyring import Keyring
from stromboli.naming import operator_host

LIMIT = 20.0
NOW = datetime.now(UTC)
AUTHORITY, OTHER = (Authority(**sign.authority(NOW)) for _ in range(2))
NODE = "node-1"


def leaf(of: Authority, subject: Subject) -> Leaf:
    keys = {"certificate": of.certificate, "key": of.key}
    asked = {"authority": keys, "common": subject.common, "hosts": subject.hosts, "client": subject.client}
    return Leaf(sign.leaf(asked, NOW)["chain"], NOW, NOW + timedelta(days=90))


class Cluster:
    """The Secret and the ConfigMap; `failures` are raised by the next calls, one each."""

    def __init__(self) -> None:
        self.authority = AUTHORITY
        self.failures: list[StromboliError] = []
        self.published: dict[str, str] = {}
        self.asked = asyncio.Event()

    async def keys(self) -> Mapping[str, bytes]:
        if self.failures:
            raise self.failures.pop()
        return {"ca.crt": self.authority.certificate.encode(), "ca.key": self.authority.key.encode()}

    async def create_keys(self, data: Mapping[str, str]) -> None:
        raise AssertionError("they are there")

    async def publish(self, node: str, address: str) -> None:
        self.published[node] = address
        self.asked.set()

    async def until_published(self) -> None:
        async with asyncio.timeout(LIMIT):
            self.asked.clear()
            await self.asked.wait()


class Hello:
    """A route."""

    def __init__(self) -> None:
        self.begun, self.over = asyncio.Event(), asyncio.Event()

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/hello", self._hello)
        router.add_get("/lasting", self._lasting)

    async def _hello(self, request: web.Request) -> web.Response:
        return web.json_response("hello")

    async def _lasting(self, request: web.Request) -> web.Response:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.over.set()
        return web.Response()


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process is started for a certificate, and what is done again is done soon."""

    async def new_leaf(of: Authority, subject: Subject) -> Leaf:
        return leaf(of, subject)

    monkeypatch.setattr(certificates, "new_leaf", new_leaf)
    monkeypatch.setattr(server, "AGAIN", 0.01)
    monkeypatch.setattr(server, "backoff", lambda failures: 0.01)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def ring(cluster: Cluster) -> Keyring:
    return Keyring(cluster, Subject("stromboli-operator", (operator_host(NODE),), client=False))


async def asks(address: str, path: str = "/hello", of: Authority = AUTHORITY, node: str = NODE) -> object:
    context = contexts.client(leaf(of, Subject("stromboli-gateway", (), client=True)), AUTHORITY.certificate)
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"https://{address}{path}", ssl=context, server_hostname=operator_host(node)) as answer,
    ):
        return await answer.json()


async def test_the_gateway_finds_it_and_is_served(cluster: Cluster, ring: Keyring) -> None:
    async with asyncio.timeout(LIMIT), serving([Hello()], ring, cluster, node=NODE) as address:
        await cluster.until_published()
        assert cluster.published == {NODE: address}
        assert await asks(address) == "hello"
        told = await asks(address, "/other")
        assert isinstance(told, dict)
        assert (told["kind"], told["code"]) == ("Status", 404)


async def test_nobody_else_is_served(cluster: Cluster, ring: Keyring) -> None:
    async with asyncio.timeout(LIMIT), serving([Hello()], ring, cluster, node=NODE) as address:
        await cluster.until_published()
        with pytest.raises(aiohttp.ClientError):
            await asks(address, of=OTHER)
        nobody = ssl.create_default_context(cadata=AUTHORITY.certificate)
        nobody.check_hostname = False
        async with aiohttp.ClientSession() as session:
            for token in ({}, {"Authorization": "Bearer t"}, {"X-Remote-User": "admin"}):
                with pytest.raises(aiohttp.ClientError):
                    await session.get(f"https://{address}/hello", ssl=nobody, headers=token)
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await asks(address, node="node-2")


async def test_it_is_there_as_soon_as_there_are_keys(
    cluster: Cluster, ring: Keyring, caplog: pytest.LogCaptureFixture
) -> None:
    """The operator has started meanwhile; what is in the way is said once."""
    caplog.set_level(logging.WARNING)
    cluster.failures = [ClusterUnavailable("the API server: refused")] * 5 + [Conflict("the namespace is away")] * 3
    async with asyncio.timeout(LIMIT), serving([Hello()], ring, cluster, node=NODE) as address:
        assert cluster.published == {}
        await cluster.until_published()
        assert await asks(address) == "hello"
    said = [record.message for record in caplog.records]
    assert said == [f"the read API waits: {why}" for why in ("the namespace is away", "the API server: refused")]


async def test_an_address_that_is_lost_is_published_again(cluster: Cluster, ring: Keyring) -> None:
    async with serving([Hello()], ring, cluster, node=NODE) as address:
        await cluster.until_published()
        cluster.published.clear()
        await cluster.until_published()
        assert cluster.published == {NODE: address}


async def test_other_keys_are_taken_without_a_restart(cluster: Cluster, ring: Keyring) -> None:
    async with asyncio.timeout(LIMIT), serving([Hello()], ring, cluster, node=NODE) as address:
        await cluster.until_published()
        cluster.authority = OTHER
        await cluster.until_published()
        await cluster.until_published()
        with pytest.raises(aiohttp.ClientError):
            await asks(address)
        mine = contexts.client(leaf(OTHER, Subject("stromboli-gateway", (), client=True)), OTHER.certificate)
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"https://{address}/hello", ssl=mine, server_hostname=operator_host(NODE)) as answer,
        ):
            assert answer.status == 200


async def test_the_end_does_not_wait_for_a_reader(cluster: Cluster, ring: Keyring) -> None:
    routes = Hello()
    async with asyncio.timeout(LIMIT):
        async with serving([routes], ring, cluster, node=NODE) as address:
            await cluster.until_published()
            asked = asyncio.create_task(asks(address, "/lasting"))
            await routes.begun.wait()
        await routes.over.wait()
        with pytest.raises(aiohttp.ClientError):
            await asked


async def test_an_address_that_is_taken_stops_the_start(cluster: Cluster, ring: Keyring) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InvalidSettings, match=rf"STROMBOLI_API_ADDRESS: cannot listen on 127\.0\.0\.1:{port}"):
            async with serving([], ring, cluster, node=NODE, port=port):
                pytest.fail("it started")


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_an_address_that_the_gateway_cannot_reach_stops_the_start(
    cluster: Cluster, ring: Keyring, host: str
) -> None:
    with pytest.raises(InvalidSettings, match=r"STROMBOLI_API_ADDRESS: .* name one of the node or the Pod"):
        async with serving([], ring, cluster, node=NODE, host=host):
            pytest.fail("it started")
