"""/secrets: Secrets with our label, of which nobody gets to see a value."""

from __future__ import annotations

import base64

import httpx2
import pytest

from stromboli.httpapi.shapes.secret import LARGEST
from stromboli.naming import SECRET_LABEL, SECRET_NAME
from tests.support.fake_api_server import Refusal
from tests.support.http_cluster import NAMESPACE, HttpCluster

VALUE = "ghp_1f0c93\nsecond line"


async def create(client: httpx2.AsyncClient, name: str, value: str = VALUE) -> httpx2.Response:
    return await client.post("/secrets", json={"name": name, "value": value})


async def test_from_creation_to_deletion(client: httpx2.AsyncClient, cluster: HttpCluster) -> None:
    made = await create(client, "github-token")
    assert (made.status_code, made.json()) == (201, {"success": True, "name": "github-token"})
    stored = cluster.api.objects["secrets", NAMESPACE, "github-token"]
    assert base64.b64decode(stored["data"]["value"]).decode() == VALUE
    shown = (await client.get("/secrets/github-token")).json()
    meta = stored["metadata"]
    assert shown == {"id": meta["uid"], "name": "github-token", "created_at": meta["creationTimestamp"]}
    assert (await client.get("/secrets")).json() == {"secrets": [shown]}
    gone = await client.delete("/secrets/github-token")
    assert (gone.status_code, gone.json()) == (200, {"success": True, "name": "github-token"})
    for again in (await client.get("/secrets/github-token"), await client.delete("/secrets/github-token")):
        assert (again.status_code, again.json()["reason"]) == (404, "NotFound")
    assert (await client.get("/secrets")).json() == {"secrets": []}


async def test_a_name_that_an_object_cannot_have(client: httpx2.AsyncClient, cluster: HttpCluster) -> None:
    for name in ("GH_Token", "gh_token", "gh-token"):
        assert (await create(client, name)).status_code == 201
    listed = (await client.get("/secrets")).json()["secrets"]
    assert [secret["name"] for secret in listed] == ["GH_Token", "gh-token", "gh_token"]
    assert len(cluster.api.objects) == 3
    assert (await client.delete("/secrets/GH_Token")).status_code == 200
    assert (await client.get("/secrets/gh_token")).json()["name"] == "gh_token"


async def test_an_existing_secret_is_not_changed(client: httpx2.AsyncClient, cluster: HttpCluster) -> None:
    await create(client, "token")
    again = await create(client, "token", "another")
    assert (again.status_code, again.json()["reason"]) == (409, "AlreadyExists")
    stored = cluster.api.objects["secrets", NAMESPACE, "token"]
    assert base64.b64decode(stored["data"]["value"]).decode() == VALUE


async def test_other_secrets_of_the_namespace_are_none(client: httpx2.AsyncClient, cluster: HttpCluster) -> None:
    cluster.api.add("secrets", {"metadata": {"name": "registry", "namespace": NAMESPACE}, "data": {"value": "eA=="}})
    assert (await client.get("/secrets")).json() == {"secrets": []}
    assert (await client.get("/secrets/registry")).status_code == 404
    assert (await client.delete("/secrets/registry")).status_code == 404
    assert (await create(client, "registry")).status_code == 409
    assert ("secrets", NAMESPACE, "registry") in cluster.api.objects


async def test_the_object_of_one_name_is_not_that_of_another(client: httpx2.AsyncClient, cluster: HttpCluster) -> None:
    meta = {"name": "a", "namespace": NAMESPACE, "labels": {SECRET_LABEL: "true"}, "annotations": {SECRET_NAME: "B"}}
    cluster.api.add("secrets", {"metadata": meta})
    assert (await client.get("/secrets/a")).status_code == 404


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a/b", "ä", "a" * 254, "a\n"])
async def test_a_name_that_is_refused(client: httpx2.AsyncClient, cluster: HttpCluster, name: str) -> None:
    answer = await create(client, name)
    assert (answer.status_code, answer.json()["details"]) == (400, {"field": "name"})
    assert "letters, digits, `.`, `-` and `_`" in answer.json()["error"]
    assert cluster.api.objects == {}


async def test_an_invalid_name_in_the_path(client: httpx2.AsyncClient) -> None:
    for call in (client.get, client.delete):
        answer = await call("/secrets/-a")
        assert (answer.status_code, answer.json()["details"]) == (400, {"field": "name"})


async def test_how_long_a_value_may_be(client: httpx2.AsyncClient) -> None:
    assert (await create(client, "longest", "x" * LARGEST)).status_code == 201
    for value in ("", "x" * (LARGEST + 1), "ä" * (LARGEST // 2 + 1)):
        answer = await create(client, "other", value)
        assert (answer.status_code, answer.json()["details"]) == (400, {"field": "value"})
        assert len(answer.text) < 300


async def test_bodies_that_are_not_understood_and_not_repeated(client: httpx2.AsyncClient) -> None:
    for body in (
        {"name": "a", "value": {"inner": VALUE}},
        {"name": "a", "value": VALUE, "values": VALUE},
        {"name": {"it": VALUE}},
        [VALUE],
        {"name": "a", VALUE: "x"},
    ):
        answer = await client.post("/secrets", json=body)
        assert answer.status_code == 400
        assert "second line" not in answer.text or VALUE in body
    answer = await client.post("/secrets", content=f'{{"name": "a", "value": "{VALUE}')
    assert answer.status_code == 400
    assert "ghp_1f0c93" not in answer.text


@pytest.mark.parametrize(
    "said",
    [
        f"the webhook does not like {VALUE}",
        f"the webhook does not like {base64.b64encode(VALUE.encode()).decode()[:20]}…",
        'the webhook does not like "ghp_1f0c93\\nsecond line"',
        "the webhook does not like second l…",
    ],
)
@pytest.mark.parametrize(("code", "answered"), [(400, 400), (403, 403), (422, 400), (500, 503)])
async def test_an_error_that_echoes_the_value(
    client: httpx2.AsyncClient, cluster: HttpCluster, said: str, code: int, answered: int
) -> None:
    def admit(obj: object) -> None:
        raise Refusal(code, "Denied", said)

    cluster.api.admit = admit
    answer = await create(client, "token")
    assert answer.status_code == answered
    assert "not passed on" in answer.json()["error"]
    for word in ("ghp_1f0c93", "second", "Z2hwXz"):
        assert word not in answer.text


async def test_another_error_is_passed_on(client: httpx2.AsyncClient, cluster: HttpCluster) -> None:
    def admit(obj: object) -> None:
        raise Refusal(403, "Forbidden", 'secrets "token" is forbidden: exceeded quota')

    cluster.api.admit = admit
    answer = await create(client, "token")
    assert answer.json()["error"] == 'secrets "token" is forbidden: exceeded quota'


async def test_no_value_is_read(client: httpx2.AsyncClient, cluster: HttpCluster) -> None:
    await create(client, "token")
    for path in ("/secrets", "/secrets/token"):
        await client.get(path)
        assert "PartialObjectMetadata" in cluster.api.requests[-1].headers["accept"]
