"""/health, /claude/status and /auth."""

from __future__ import annotations

import asyncio

import httpx2
import pytest

from stromboli.httpapi.health import KEPT, Health
from tests.support.fake_api_server import Refusal, Reply, Request
from tests.support.http_cluster import NAMESPACE, HttpCluster, http_cluster

STATUS = f"/apis/agents.stromboli.dev/v1alpha1/namespaces/{NAMESPACE}/claudestatus"


class Part:
    def __init__(self) -> None:
        self.wrong = ""
        self.asked = 0

    async def check(self) -> str:
        self.asked += 1
        await asyncio.sleep(0)
        return self.wrong


async def test_the_parts_of_which_one_does_not_work() -> None:
    now = 0.0
    one, other = Part(), Part()
    health = Health({"kubernetes": one.check, "operator": other.check}, lambda: now)
    async with http_cluster(local=False, health=health) as cluster:
        answer = await cluster.http.get("/health")
        assert (answer.status_code, answer.json()) == (
            200,
            {
                "name": "stromboli",
                "status": "ok",
                "version": "0.4.0",
                "operator_version": "0.0.0-test",
                "components": [
                    {"name": "kubernetes", "status": "ok", "error": ""},
                    {"name": "operator", "status": "ok", "error": ""},
                ],
            },
        )
        other.wrong = "no operator is ready: podman"
        await asyncio.gather(*(cluster.http.get("/health") for _ in range(5)))
        assert (one.asked, other.asked) == (1, 1), "what was found counts for a while"
        now += KEPT
        answers = await asyncio.gather(*(cluster.http.get("/health") for _ in range(5)))
        assert (one.asked, other.asked) == (2, 2), "it is asked for once at a time"
        assert {each.status_code for each in answers} == {503}
        told = answers[0].json()
        assert (told["status"], told["components"][1]) == (
            "error",
            {"name": "operator", "status": "error", "error": "no operator is ready: podman"},
        )


async def test_whether_there_are_credentials(client: httpx2.AsyncClient, cluster: HttpCluster) -> None:
    told = {"configured": False, "message": "there are none"}
    cluster.api.routes[STATUS] = lambda request: Reply(body=told)
    answer = await client.get("/claude/status")
    assert (answer.status_code, answer.json()) == (200, told)


async def test_no_valid_answer_about_credentials(client: httpx2.AsyncClient, cluster: HttpCluster) -> None:
    cluster.api.routes[STATUS] = lambda request: Reply(body={"configured": True})
    assert (await client.get("/claude/status")).status_code == 503


async def test_who_may_not_ask_about_credentials(client: httpx2.AsyncClient, cluster: HttpCluster) -> None:
    def refuse(request: Request) -> Reply:
        raise Refusal(403, "Forbidden", "claudestatus is forbidden")

    cluster.api.routes[STATUS] = refuse
    answer = await client.get("/claude/status")
    assert (answer.status_code, answer.json()["error"]) == (403, "claudestatus is forbidden")


@pytest.mark.parametrize(("method", "path"), [("POST", "/auth/token"), ("GET", "/auth/validate"), ("GET", "/auth")])
async def test_there_is_no_login(client: httpx2.AsyncClient, method: str, path: str) -> None:
    answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["reason"]) == (404, "NotFound")
    assert "`Authorization: Bearer TOKEN`" in answer.json()["error"]
