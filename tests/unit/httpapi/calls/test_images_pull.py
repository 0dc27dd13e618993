"""POST /images/pull: the AgentImage behind it, how it is followed, and what is left of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import httpx2
import pytest

from stromboli.grammar import reference
from stromboli.httpapi import pulling
from stromboli.plan import awaited_image
from tests.support.fake_api_server import Object, Refusal, Request
from tests.support.http_cluster import NAMESPACE, HttpCluster

PYTHON = "docker.io/library/python:3.12"
NAME = awaited_image.name_for(reference.parse(PYTHON))
ID = "4" * 64


def status(reason: str, message: str = "so", *, problem: str = "", stalled: bool = False) -> Object:
    """A status of generation 1, with `Ready` of that reason."""
    here = reason == "Present"
    types = ["Ready", *([] if here else ["Stalled" if stalled else "Reconciling"])]
    conditions = [
        {"type": t, "status": "True" if here or t != "Ready" else "False", "reason": reason, "message": message}
        for t in types
    ]
    node = {"name": "n", **({"id": ID, "platform": "linux/amd64"} if here else {"problem": problem})}
    return {"observedGeneration": 1, "conditions": conditions, "nodes": [node]}


PRESENT = status("Present")
FETCHING = status("Pulling", f"pulling {PYTHON}: 1.0 of 30.0 MiB, 2 of 5 layers, 4 s so far")


class Images:
    """The AgentImages, of which the operator sets the status."""

    def __init__(self, cluster: HttpCluster) -> None:
        self.cluster = cluster

    def add(self, name: str, image: str, found: Object | None = None, **meta: Any) -> Object:
        body = {"metadata": {"name": name, "namespace": NAMESPACE, **meta}, "spec": {"image": image}}
        return self.cluster.api.add("agentimages", body | {"status": found or {}})

    @property
    def names(self) -> list[str]:
        return [name for kind, _, name in self.cluster.api.objects if kind == "agentimages"]

    async def becomes(self, *states: Object, name: str = NAME) -> None:
        """Once it is followed, the object has one status after the other."""
        key = ("agentimages", NAMESPACE, name)
        await self.cluster.until(lambda: key in self.cluster.api.objects and self.cluster.api.watches, "it is watched")
        for state in states:
            self.cluster.api.status(name, state, plural="agentimages")


@pytest.fixture
def images(cluster: HttpCluster) -> Images:
    return Images(cluster)


async def pull(client: httpx2.AsyncClient, image: str = "python:3.12", **fields: Any) -> httpx2.Response:
    return await client.post("/images/pull", json={"image": image, **fields})


async def pulled(
    client: httpx2.AsyncClient, images: Images, states: Sequence[Object], **fields: Any
) -> httpx2.Response:
    """The answer, while the image has one status after the other."""
    answer, _ = await asyncio.gather(pull(client, **fields), images.becomes(*states))
    return answer


async def test_it_is_created_and_followed_to_the_end(client: httpx2.AsyncClient, images: Images) -> None:
    answer = await pulled(client, images, [FETCHING, PRESENT])
    assert answer.status_code == 200
    assert answer.json() == {"success": True, "image_id": f"sha256:{ID}", "image": "python:3.12"}
    assert images.names == [NAME]
    assert images.cluster.api.objects["agentimages", NAMESPACE, NAME]["spec"] == {"image": PYTHON}


async def test_what_is_there_says_so_at_once(client: httpx2.AsyncClient, images: Images) -> None:
    images.add("slow", PYTHON, FETCHING)
    images.add("mine", "python:3.12", PRESENT)
    images.add("other", "python:3.11", PRESENT)
    assert (await pull(client)).status_code == 200
    assert images.names == ["slow", "mine", "other"]


async def test_a_form_s_content_type(client: httpx2.AsyncClient, images: Images) -> None:
    images.add("mine", PYTHON, PRESENT)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await client.post("/images/pull", content='{"image": "python:3.12"}', headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("last", "code"),
    [
        (status("ImageNotAllowed", "not allowed", stalled=True), 400),
        (status("InvalidSpec", "spec.image: no digest", stalled=True), 400),
        (status("PolicyViolation", "two policies", stalled=True), 400),
        (status("InvalidSpec", "x", stalled=True), 400),
        (status("ImagePullFailed", "x", problem="not found", stalled=True), 502),
        (status("ImagePullFailed", "x", problem="access denied", stalled=True), 502),
        (status("RegistryUnavailable", "x", problem="rate limited"), 502),
    ],
)
async def test_why_it_does_not_get_here(client: httpx2.AsyncClient, images: Images, last: Object, code: int) -> None:
    answer = await pulled(client, images, [last])
    said = last["conditions"][0]
    assert (answer.status_code, answer.json()["reason"]) == (code, said["reason"])
    assert answer.json()["error"] == said["message"].removeprefix("spec.")
    assert images.names == [], "what was created is deleted, so that the next call tries again"


async def test_what_others_have_created_stays(client: httpx2.AsyncClient, images: Images) -> None:
    images.add("mine", PYTHON, status("ImageNotAllowed", stalled=True))
    assert (await pull(client)).status_code == 400
    assert images.names == ["mine"]


async def test_a_failure_that_a_client_has_left_behind_is_tried_again(
    client: httpx2.AsyncClient, images: Images
) -> None:
    before = images.add(NAME, PYTHON, status("ImagePullFailed", problem="not found", stalled=True))
    assert (await pulled(client, images, [PRESENT])).status_code == 200
    now = images.cluster.api.objects["agentimages", NAMESPACE, NAME]
    assert now["metadata"]["uid"] != before["metadata"]["uid"]


async def test_one_that_is_being_deleted_is_waited_for(client: httpx2.AsyncClient, images: Images) -> None:
    images.add(NAME, PYTHON, PRESENT, deletionTimestamp="2026-11-01T00:00:00Z")
    asked = asyncio.create_task(pull(client))
    await images.cluster.until(lambda: images.cluster.api.named("POST", "/agentimages"), "it is to be created")
    assert not asked.done()
    images.cluster.api.remove(NAME, plural="agentimages")
    await images.becomes(PRESENT)
    assert (await asked).status_code == 200


async def test_the_name_is_another_s(client: httpx2.AsyncClient, images: Images) -> None:
    images.add(NAME, "python:3.11", PRESENT)
    answer = await pull(client)
    assert (answer.status_code, images.names) == (409, [NAME])


async def test_it_is_deleted_meanwhile(client: httpx2.AsyncClient, images: Images) -> None:
    async def delete() -> None:
        await images.becomes(FETCHING)
        images.cluster.api.remove(NAME, plural="agentimages")

    answer, _ = await asyncio.gather(pull(client), delete())
    assert (answer.status_code, "was deleted meanwhile" in answer.json()["error"]) == (503, True)


@pytest.mark.parametrize(
    ("held", "reason", "word"),
    [
        ({}, "ServiceUnavailable", "no operator has seen"),
        (status("PodmanUnavailable", "Podman is away"), "PodmanUnavailable", "Podman is away"),
        (status("NodeOutOfDisk", "its disk is full"), "NodeOutOfDisk", "its disk is full"),
    ],
)
async def test_what_is_none_of_the_image_s_business(
    client: httpx2.AsyncClient, images: Images, monkeypatch: pytest.MonkeyPatch, held: Object, reason: str, word: str
) -> None:
    monkeypatch.setattr(pulling, "PATIENCE", 0.3)
    images.add(NAME, PYTHON, held)
    answer = await pull(client)
    assert (answer.status_code, answer.json()["reason"], word in answer.json()["error"]) == (503, reason, True)
    assert images.names == [NAME], "it waits on"


async def test_another_platform(client: httpx2.AsyncClient, images: Images) -> None:
    for platform in ("linux/amd64", "LINUX/x86_64", "linux/amd64/v1", ""):
        assert (await pulled(client, images, [PRESENT], platform=platform)).status_code == 200
        images.cluster.api.remove(NAME, plural="agentimages")
    answer = await pulled(client, images, [PRESENT], platform="linux/arm64")
    assert (answer.status_code, answer.json()["details"]) == (400, {"field": "platform"})
    assert "linux/amd64" in answer.json()["error"]
    assert images.names == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"platform": "windows/amd64"}, "platform"),
        ({"platform": "amd64"}, "platform"),
        ({"platform": "linux/"}, "platform"),
        ({"image": ""}, "image"),
        ({"image": "a b"}, "image"),
        ({"image": f"sha256:{'0' * 64}"}, "image"),
        ({"image": 1}, "image"),
        ({"quiet": "yes"}, "quiet"),
        ({"quite": True}, "quite"),
    ],
)
async def test_what_is_refused(client: httpx2.AsyncClient, images: Images, fields: dict[str, Any], field: str) -> None:
    answer = await client.post("/images/pull", json={"image": "python:3.12"} | fields)
    assert (answer.status_code, answer.json()["details"], images.names) == (400, {"field": field}, [])


async def test_who_may_not(client: httpx2.AsyncClient, images: Images) -> None:
    def refuse(request: Request) -> None:
        raise Refusal(403, "Forbidden", "agentimages is forbidden")

    images.cluster.api.before = refuse
    answer = await pull(client)
    assert (answer.status_code, answer.json()["error"]) == (403, "agentimages is forbidden")


async def events(client: httpx2.AsyncClient, images: Images, *states: Object, **fields: Any) -> list[tuple[str, Any]]:
    """The events, by name with their data."""

    async def read() -> str:
        headers = {"Accept": "text/event-stream"}
        answer = await client.post("/images/pull", json={"image": "python:3.12", **fields}, headers=headers)
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        return answer.text

    text, _ = await asyncio.gather(read(), images.becomes(*states))
    found = []
    for block in text.strip().split("\n\n"):
        written = dict(line.split(": ", 1) for line in block.splitlines())
        found.append((written.get("event", ""), json.loads(written["data"])))
    return found


async def test_the_progress_as_events(client: httpx2.AsyncClient, images: Images) -> None:
    *steps, last = await events(client, images, FETCHING, PRESENT)
    assert last == ("done", {"success": True, "image_id": f"sha256:{ID}", "image": "python:3.12"})
    assert ("", {
        "status": "pulling",
        "message": FETCHING["conditions"][0]["message"],
        "fetched": 1 << 20,
        "size": 30 << 20,
        "complete_layers": 2,
        "layers": 5,
    }) in steps  # fmt: skip


async def test_no_progress(client: httpx2.AsyncClient, images: Images) -> None:
    found = await events(client, images, FETCHING, PRESENT, quiet=True)
    assert [name for name, _ in found] == ["done"]


async def test_a_failure_as_an_event(client: httpx2.AsyncClient, images: Images) -> None:
    *_, (name, told) = await events(client, images, status("ImagePullFailed", "no such tag", stalled=True))
    assert (name, told["error"], told["reason"]) == ("error", "no such tag", "ImagePullFailed")
    assert images.names == []


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_a_client_that_hangs_up_does_not_end_the_pull(cluster: HttpCluster, images: Images, accept: str) -> None:
    async with httpx2.AsyncClient(base_url=cluster.url, trust_env=False) as client:
        headers = {"Accept": accept}
        asked = asyncio.create_task(client.post("/images/pull", json={"image": PYTHON}, headers=headers))
        await images.becomes(FETCHING)
        asked.cancel()
        await asyncio.wait([asked])

    def is_left() -> bool:
        cluster.api.status(NAME, FETCHING, plural="agentimages")  # it notices who is gone when it writes
        return not cluster.api.watches

    await cluster.until(is_left, "it is no longer watched")
    assert images.names == [NAME]
