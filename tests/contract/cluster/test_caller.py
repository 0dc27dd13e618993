"""What the HTTP API asks of a cluster on behalf of its callers: the same checks face the API server in memory and a
real one.
"""

from __future__ import annotations

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from stromboli.controlplane.cluster import Cluster as ControlPlane
from stromboli.errors import ApiRefused
from stromboli.httpapi import listing
from stromboli.httpapi.caller import Caller
from stromboli.kube import caller as kube
from stromboli.kube import kubeconfig
from stromboli.kube.caller import Callers
from stromboli.kube.kubeconfig import Place
from stromboli.kube.user import NAMESPACES, RUNS, SECRETS
from tests.support.fake_api_server import FakeApiServer

LIMIT = 30.0


@asynccontextmanager
async def fake() -> AsyncIterator[Caller]:
    with FakeApiServer().serving() as server:
        server.users = {"alice": "alice"}
        place = Place("it", server.url, token="alice")
        callers = Callers(Place("it", server.url), place)
        assert callers.local is not None
        yield Caller(callers.local, "contract")
        await callers.close()


@asynccontextmanager
async def real(own: ControlPlane) -> AsyncIterator[Caller]:
    place = kubeconfig.read([own.kubeconfig])
    callers = Callers(place, place)
    local = callers.local
    assert local is not None
    caller = Caller(local, f"callers-{uuid.uuid4().hex[:12]}")
    await local.create(NAMESPACES, None, {"metadata": {"name": caller.namespace}})
    yield caller
    await local.delete(NAMESPACES, None, caller.namespace)
    await callers.close()


@pytest.fixture(params=["fake", "real"])
async def caller(request: pytest.FixtureRequest) -> AsyncIterator[Caller]:
    if request.param == "real":
        request.getfixturevalue("installed")
    where = fake() if request.param == "fake" else real(request.getfixturevalue("own"))
    async with where as made:
        yield made


def run(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "stromboli.dev/v1alpha1",
        "kind": "AgentRun",
        "metadata": {"name": name},
        "spec": {"prompt": "x" * 2000, "image": "python:3.12", **spec},
    }


async def test_an_object_from_its_creation_to_its_deletion(caller: Caller) -> None:
    cluster, space = caller.cluster, caller.namespace
    created = await cluster.create(RUNS, space, run("a"))
    assert await cluster.get(RUNS, space, "a") == await cluster.find(RUNS, space, "a") == created
    with pytest.raises(ApiRefused, match="already exists") as refused:
        await cluster.create(RUNS, space, run("a"))
    assert (refused.value.status, refused.value.reason) == (409, "AlreadyExists")
    change = {"metadata": {"resourceVersion": created["metadata"]["resourceVersion"]}, "spec": {"cancel": True}}
    changed = await cluster.patch(RUNS, space, "a", change)
    assert changed["spec"] == {**created["spec"], "cancel": True}
    with pytest.raises(ApiRefused, match="the object has been modified") as refused:
        await cluster.patch(RUNS, space, "a", change)
    assert (refused.value.status, refused.value.reason) == (409, "Conflict")
    with pytest.raises(ApiRefused) as refused:
        await cluster.delete(RUNS, space, "a", uid=str(uuid.uuid4()))
    assert refused.value.status == 409
    await cluster.delete(RUNS, space, "a", uid=created["metadata"]["uid"])
    assert await cluster.find(RUNS, space, "a") is None
    for call in (
        cluster.get(RUNS, space, "a"),
        cluster.patch(RUNS, space, "a", change),
        cluster.head(RUNS, space, "a"),
    ):
        with pytest.raises(ApiRefused, match='"a" not found') as refused:
            await call
        assert (refused.value.status, refused.value.reason) == (404, "NotFound")


async def test_another_object_of_the_name_is_not_changed(caller: Caller) -> None:
    created = await caller.cluster.create(RUNS, caller.namespace, run("a"))
    version = created["metadata"]["resourceVersion"]
    change = {"metadata": {"uid": str(uuid.uuid4()), "resourceVersion": version}, "spec": {"cancel": True}}
    with pytest.raises(ApiRefused) as refused:
        await caller.cluster.patch(RUNS, caller.namespace, "a", change)
    assert refused.value.status in (409, 422)


async def test_rows_have_what_calls_look_at(caller: Caller) -> None:
    await caller.cluster.create(RUNS, caller.namespace, run("a", session={"name": "talk"}))
    await caller.cluster.create(RUNS, caller.namespace, run("b"))
    columns = ("Reason", "Session", "Nothing", "Succeeded")
    found = [row async for row in listing.rows(caller, RUNS, *columns)]
    assert [(row.name, row.cells) for row in found] == [("a", ("", "talk", "", "")), ("b", ("", "", "", ""))]
    assert all(row.created.endswith("Z") for row in found)
    found = [row async for row in listing.rows(caller, RUNS, fields="spec.session.name=talk")]
    assert [row.name for row in found] == ["a"]


async def test_rows_of_many_pages(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "PAGE", 2)
    names = ["a", "b", "c", "d", "e"]
    assert [row.name async for row in listing.rows(caller, RUNS)] == []
    for name in names:
        await caller.cluster.create(RUNS, caller.namespace, run(name))
    assert [row.name async for row in listing.rows(caller, RUNS)] == names
    first = await caller.cluster.page(RUNS, caller.namespace, limit=3)
    rest = await caller.cluster.page(RUNS, caller.namespace, limit=1, following=first.following)
    assert [item["metadata"]["name"] for item in (*first.items, *rest.items)] == names[:4]
    assert len((await caller.cluster.list(RUNS, caller.namespace)).items) == 5


async def test_secrets_are_seen_without_their_values(caller: Caller) -> None:
    meta = {"name": "s", "labels": {"of": "us"}}
    await caller.cluster.create(SECRETS, caller.namespace, {"metadata": meta, "stringData": {"value": "hush"}})
    await caller.cluster.create(SECRETS, caller.namespace, {"metadata": {"name": "t"}, "stringData": {"value": "x"}})
    whole = await caller.cluster.get(SECRETS, caller.namespace, "s")
    assert base64.b64decode(whole["data"]["value"]) == b"hush"
    assert [head["name"] for head in await caller.cluster.heads(SECRETS, caller.namespace, labels="of=us")] == ["s"]
    assert (await caller.cluster.head(SECRETS, caller.namespace, "s"))["labels"] == {"of": "us"}


async def test_the_states_of_an_object_that_comes_and_goes(caller: Caller) -> None:
    cluster, space = caller.cluster, caller.namespace
    async with asyncio.timeout(LIMIT), aclosing(cluster.states(RUNS, space, "a")) as states:
        assert await anext(states) is None
        await cluster.create(RUNS, space, run("other"))
        await cluster.create(RUNS, space, run("a"))
        found = await anext(states)
        assert found is not None
        assert found["metadata"]["name"] == "a"
        await cluster.patch(RUNS, space, "a", {"spec": {"suspend": True}})
        found = await anext(states)
        assert found is not None
        assert found["spec"]["suspend"] is True
        await cluster.delete(RUNS, space, "a")
        assert await anext(states) is None


async def test_who_calls(caller: Caller) -> None:
    assert await caller.cluster.user()


async def test_what_is_not_served(caller: Caller) -> None:
    for path in ("/apis/stromboli.dev/v1alpha1/nothing", "/apis/nobody.test/v1/things"):
        with pytest.raises(ApiRefused, match="could not find the requested resource") as refused:
            await caller.cluster.document("GET", path)
        assert refused.value.status == 404
        with pytest.raises(ApiRefused) as refused:
            await caller.cluster.content(path)
        assert refused.value.status == 404


async def test_a_token_that_nobody_has(caller: Caller) -> None:
    stranger = kube.Caller(caller.cluster._http, {"Authorization": "Bearer nobody"})
    with pytest.raises(ApiRefused) as refused:
        await stranger.get(RUNS, caller.namespace, "a")
    assert (refused.value.status, refused.value.reason) == (401, "Unauthorized")
