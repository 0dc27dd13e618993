"""Who answers what, without TLS and without operators: tests/contract has both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from stromboli.api.errors import Declined
from stromboli.errors import ClusterUnavailable
from stromboli.gateway import server, trust
from stromboli.gateway.onward import Unanswered
from stromboli.gateway.routes import Asked
from stromboli.gateway.server import Gateway
from stromboli.gateway.trust import FrontProxy
from stromboli.kube.aggregation import Located
from stromboli.metrics.gateway import GatewayMetrics
from stromboli.naming import AGENTS_API

RUN = f"{AGENTS_API}/namespaces/team/agentruns/fix/log"
SESSION = f"{AGENTS_API}/namespaces/team/agentsessions/s/messages"


class Upkeep:
    def __init__(self) -> None:
        self.wrong = ""
        self.is_stuck = False
        self.trusts = True
        self.proxy = FrontProxy("", frozenset(), ("X-Remote-User",))

    def still_trusts(self, context: object) -> bool:
        return self.trusts


class Cluster:
    """Where things are."""

    def __init__(self) -> None:
        self.found: dict[str, Located] = {}
        self.addresses = {"one": "10.0.0.1:1", "two": "10.0.0.2:2"}
        self.away = False

    async def located(self, plural: str, namespace: str, name: str) -> Located | None:
        if self.away:
            raise ClusterUnavailable("the API server: refused")
        return self.found.get(f"{plural}/{namespace}/{name}")

    async def operators(self) -> Mapping[str, str]:
        return self.addresses


class Onward:
    """Operators, of which some are down."""

    def __init__(self) -> None:
        self.down: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        self.following: asyncio.Queue[str] = asyncio.Queue()
        self.over = asyncio.Event()

    async def answer(self, request: web.Request, asked: Asked, node: str, address: str) -> web.StreamResponse:
        self.asked.append((node, address))
        if node in self.down:
            raise Unanswered(node, "refused")
        if asked.follows:
            self.following.put_nowait(node)
            await self.over.wait()
        return web.json_response({"node": node})


class Bed:
    def __init__(self, client: TestClient[Any, Any], upkeep: Upkeep, cluster: Cluster, onward: Onward) -> None:
        self.client, self.upkeep, self.cluster, self.onward = client, upkeep, cluster, onward

    async def asks(self, path: str, method: str = "GET", **headers: str) -> tuple[int, Any]:
        async with self.client.request(method, path, headers=headers) as answer:
            is_json = answer.content_type == "application/json"
            return answer.status, await answer.json() if is_json else await answer.text()


@web.middleware
async def nothing(request: web.Request, handler: server.Handler) -> web.StreamResponse:
    return await handler(request)


@pytest.fixture
async def bed(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bed]:
    upkeep, cluster, onward = Upkeep(), Cluster(), Onward()
    gateway = Gateway(upkeep, cluster, onward, "1.2.3", GatewayMetrics("1.2.3"))  # type: ignore[arg-type]
    monkeypatch.setattr(trust, "user", lambda proxy, certificate, headers: headers.get("X-Remote-User", "ada"))
    async with TestClient(TestServer(gateway.application(nothing))) as client:
        yield Bed(client, upkeep, cluster, onward)


async def test_a_run_is_asked_for_on_its_node(bed: Bed) -> None:
    bed.cluster.found["agentruns/team/fix"] = Located("u", "two", False)
    assert await bed.asks(f"{RUN}?uid=u") == (200, {"node": "two"})
    assert bed.onward.asked == [("two", "10.0.0.2:2")]


@pytest.mark.parametrize(("finished", "state"), [(False, "waiting"), (True, "ended")])
async def test_a_run_that_never_had_a_node_has_an_empty_log(bed: Bed, finished: bool, state: str) -> None:
    bed.cluster.found["agentruns/team/fix"] = Located("u", "", finished)
    async with bed.client.get(f"{RUN}?follow=true") as answer:
        assert (answer.status, await answer.read()) == (200, b"")
        told = {name: answer.headers[f"Stromboli-{name}"] for name in ("State", "Attempt", "Offset")}
        assert told == {"State": state, "Attempt": "0", "Offset": "0"}


@pytest.mark.parametrize(
    ("path", "status", "reason", "words"),
    [
        (f"{RUN}?uid=v", 409, "Conflict", "is another now: its UID is u"),
        (RUN.replace("fix", "no"), 404, "NotFound", "has no AgentRun no"),
        (SESSION, 404, "NotFound", "has no conversation yet"),
        (SESSION.replace("/s/", "/t/"), 404, "NotFound", "has no AgentSession t"),
        (f"{RUN}?x=1", 400, "BadRequest", "no parameter 'x'"),
        (f"{AGENTS_API}/other", 404, "NotFound", "not served here"),
        ("/api", 404, "NotFound", "not served here"),
        (f"{AGENTS_API}/namespaces/team/images?node=My_Host.3", 503, "ServiceUnavailable", "My_Host.3 has not said"),
        (f"{AGENTS_API}/namespaces/team/images?node=a%0A2026-11-30%20INFO", 400, "BadRequest", "`node` is not a name"),
    ],
)
async def test_what_cannot_be_answered_is_a_status(bed: Bed, path: str, status: int, reason: str, words: str) -> None:
    bed.cluster.found["agentruns/team/fix"] = Located("u", "two", False)
    bed.cluster.found["agentsessions/team/s"] = Located("u", "", False)
    code, told = await bed.asks(path)
    assert (code, told["kind"], told["apiVersion"], told["status"]) == (status, "Status", "v1", "Failure")
    assert (told["code"], told["reason"]) == (status, reason)
    assert words in told["message"]


async def test_nothing_can_be_changed(bed: Bed) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        for path in (AGENTS_API, RUN, "/healthz"):
            status, told = await bed.asks(path, method)
            assert (status, told["reason"]) == (405, "MethodNotAllowed")
    assert bed.onward.asked == []


async def test_an_api_server_that_is_away_is_no_answer_about_the_run(bed: Bed) -> None:
    bed.cluster.away = True
    status, told = await bed.asks(RUN)
    assert (status, told["message"]) == (503, "the API server: refused")


async def test_who_follows_much_keeps_neither_others_nor_the_api_server_out(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MOST", 3)
    monkeypatch.setattr(server, "EACH", 2)
    bed.cluster.found["agentruns/team/fix"] = Located("u", "two", False)

    async def follow(user: str) -> tuple[int, Any]:
        return await bed.asks(f"{RUN}?follow=true", **{"X-Remote-User": user})

    async with asyncio.timeout(20.0), asyncio.TaskGroup() as group:
        following = [group.create_task(follow("ada")) for _ in range(2)]
        for _ in range(2):
            await bed.onward.following.get()
        status, told = await follow("ada")
        assert (status, told["message"]) == (
            503,
            "2 of your requests are being answered; try again when one of them has ended",
        )
        following.append(group.create_task(follow("eve")))
        await bed.onward.following.get()
        assert (await follow("bob"))[0] == 503
        assert (await bed.asks(AGENTS_API))[0] == 200
        bed.onward.over.set()
    assert [task.result()[0] for task in following] == [200] * 3
    assert (await follow("ada"))[0] == 200


async def test_images_are_asked_for_where_somebody_answers(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    bed.onward.down = {"one"}
    for _ in range(8):
        assert await bed.asks(f"{AGENTS_API}/namespaces/team/images") == (200, {"node": "two"})
    status, told = await bed.asks(f"{AGENTS_API}/namespaces/team/images?node=one")
    assert (status, "node one does not answer" in told["message"]) == (503, True)
    bed.cluster.addresses |= {f"gone-{n}": "10.0.0.9:9" for n in range(20)}
    bed.onward.down = {"one", *bed.cluster.addresses} - {"two"}
    assert await bed.asks(f"{AGENTS_API}/namespaces/team/images") == (200, {"node": "two"})
    monkeypatch.setattr(server, "_SEARCH", -1.0)
    bed.onward.down = set(bed.cluster.addresses)
    before = len(bed.onward.asked)
    assert (await bed.asks(f"{AGENTS_API}/images?namespace=team"))[0] == 503
    assert len(bed.onward.asked) == before + 1, "there is no time for another"
    bed.cluster.addresses = {}
    status, told = await bed.asks(f"{AGENTS_API}/images?namespace=team")
    assert (status, "no operator has said" in told["message"]) == (503, True)


async def test_documents_are_recognized_when_they_are_asked_for_again(bed: Bed) -> None:
    async with bed.client.get("/openapi/v2") as answer:
        etag = answer.headers["ETag"]
    async with bed.client.get("/openapi/v2", headers={"If-None-Match": etag}) as answer:
        assert (answer.status, await answer.read()) == (304, b"")


async def test_aggregated_discovery_is_declined(bed: Bed) -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    assert (await bed.asks("/apis", Accept=accept))[0] == 406


async def test_health_is_for_everybody(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: object) -> str:
        raise Declined(401, "no certificate")

    monkeypatch.setattr(trust, "user", nobody)
    bed.upkeep.trusts = False
    assert [await bed.asks(path) for path in ("/healthz", "/readyz")] == [(200, "ok")] * 2
    bed.upkeep.wrong, bed.upkeep.is_stuck = "no front proxy", True
    assert [(await bed.asks(path))[0] for path in ("/healthz", "/readyz")] == [500, 503]


async def test_whoever_is_nobody_learns_nothing(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: object) -> str:
        raise Declined(401, "no certificate")

    monkeypatch.setattr(trust, "user", nobody)
    for path in ("/apis", AGENTS_API, RUN, "/openapi/v2", "/version", "/none", "/healthz/", "/readyz/.."):
        status, told = await bed.asks(path)
        assert (status, told["message"]) == (401, "no certificate"), path


async def test_a_connection_that_was_accepted_by_a_ca_that_is_gone_is_closed(bed: Bed) -> None:
    bed.upkeep.trusts = False
    async with bed.client.get(AGENTS_API) as answer:
        assert (answer.status, answer.headers["Connection"]) == (401, "close")


async def test_what_is_passed_on_is_counted_without_names(bed: Bed) -> None:
    async def values() -> dict[str, float]:
        _, text = await bed.asks("/metrics")
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("stromboli_read_api_")]
        return {name: float(value) for name, value in lines}

    bed.cluster.found["agentruns/team/fix"] = Located("u", "two", False)
    await bed.asks(RUN)
    await bed.asks(RUN.replace("fix", "no"))
    await bed.asks(f"{AGENTS_API}/other")
    bed.cluster.away = True
    await bed.asks(RUN)
    bed.cluster.away = False
    following = asyncio.ensure_future(bed.asks(f"{RUN}?follow=true"))
    await bed.onward.following.get()
    counted = {
        'stromboli_read_api_requests_total{resource="agentruns/log",status="200"}': 1,
        'stromboli_read_api_requests_total{resource="agentruns/log",status="404"}': 1,
        'stromboli_read_api_requests_total{resource="agentruns/log",status="503"}': 1,
        "stromboli_read_api_requests_open": 1,
    }
    assert await values() == counted
    bed.onward.over.set()
    await following
    assert (await values())["stromboli_read_api_requests_open"] == 0
