"""The read API's routes about images: streamed lists, and every error as a sentence with a reason."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2 as httpx
import pytest

from stromboli.api import images, messages
from stromboli.api.images import ImageRoutes
from stromboli.errors import ClusterUnavailable, ImageMissing, PodmanUnavailable, Refused
from stromboli.gateway.onward import SILENCE
from stromboli.perform.images.discovery import PATIENCE, Progress
from stromboli.reasons import Reason
from tests.support.fake_discovery import FakeDiscovery, inspected, row
from tests.unit.api.served import ask, client_of

LIST = "/apis/agents.stromboli.dev/v1alpha1/namespaces/ns/images"
ALL = "/apis/agents.stromboli.dev/v1alpha1/images"
INSPECT, SEARCH = f"{LIST}/inspect?reference=python:3.12", f"{LIST}/search?query=python"


@pytest.fixture
def discovery() -> FakeDiscovery:
    found = FakeDiscovery()
    found.images = [row("docker.io/library/python:3.12"), row("docker.io/library/alpine:3", rank=4, allowed=False)]
    found.inspected = {"python:3.12": inspected("docker.io/library/python:3.12")}
    return found


@pytest.fixture
async def client(discovery: FakeDiscovery) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(ImageRoutes(discovery)) as client:
        yield client


async def listed(client: httpx.AsyncClient, where: str = LIST) -> list[dict[str, Any]]:
    response = await client.get(where)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


async def test_a_list_says_how_far_it_is_before_it_comes(client: httpx.AsyncClient, discovery: FakeDiscovery) -> None:
    discovery.steps = [Progress(0, 2), Progress(1, 2)]
    first, second, last = await listed(client)
    assert (first, second) == ({"progress": {"done": 0, "total": 2}}, {"progress": {"done": 1, "total": 2}})
    assert last == {"node": "node-1", "incomplete": 0, "images": [row("docker.io/library/python:3.12")]}


async def test_all_images_are_those_of_the_cluster_s_path(client: httpx.AsyncClient) -> None:
    """Of which RBAC can decide apart from the namespace's."""
    (answer,) = await listed(client, f"{ALL}?namespace=ns")
    assert len(answer["images"]) == 2


@pytest.mark.parametrize("query", ["", "?namespace=", "?namespace=a%2fb", "?namespace=A"])
async def test_all_images_are_judged_for_some_namespace(
    client: httpx.AsyncClient, discovery: FakeDiscovery, query: str
) -> None:
    status, told = await ask(client, f"{ALL}{query}")
    assert (status, "`namespace` must name" in told["message"], discovery.asked) == (400, True, [])


@pytest.mark.parametrize("where", [LIST, INSPECT, SEARCH])
async def test_a_namespace_that_is_none(client: httpx.AsyncClient, discovery: FakeDiscovery, where: str) -> None:
    assert (await ask(client, where.replace("/ns/", "/a%2fb/")))[0] == 404
    assert discovery.asked == []


async def test_what_is_in_an_image(client: httpx.AsyncClient) -> None:
    assert await ask(client, INSPECT) == (200, inspected("docker.io/library/python:3.12"))


async def test_a_search(client: httpx.AsyncClient, discovery: FakeDiscovery) -> None:
    assert (await ask(client, f"{LIST}/search?query=%20python%20%203&limit=7"))[0] == 200
    assert (await ask(client, SEARCH))[0] == 200
    assert discovery.asked == [("search", "ns", "python 3", 7), ("search", "ns", "python", 25)]


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("images/search", "`query` must have"),
        ("images/search?query=%20", "`query` must have"),
        (f"images/search?query={'x' * 256}", "`query` must have"),
        ("images/search?query=a%1bb", "`query` must have"),
        ("images/search?query=a&limit=0", "`limit` must be"),
        ("images/search?query=a&limit=101", "`limit` must be"),
        ("images/search?query=a&limit=-1", "`limit` must be"),
        ("images/search?query=a&limit=%C2%B2", "`limit` must be"),
    ],
)
async def test_parameters_that_make_no_sense(
    client: httpx.AsyncClient, discovery: FakeDiscovery, query: str, word: str
) -> None:
    status, told = await ask(client, LIST.replace("images", query))
    assert (status, word in told["message"], discovery.asked) == (400, True, [])


@pytest.mark.parametrize("where", [LIST, INSPECT, SEARCH])
@pytest.mark.parametrize(
    ("failure", "status", "reason"),
    [
        (Refused(Reason.ImageNotAllowed, "the image is not allowed"), 403, "ImageNotAllowed"),
        (Refused(Reason.PolicyViolation, "cannot be read"), 403, "PolicyViolation"),
        (Refused(Reason.InvalidSpec, "no reference"), 400, "InvalidSpec"),
        (ImageMissing("not on the node"), 404, "ImageMissing"),
        (PodmanUnavailable("no socket"), 503, "ServiceUnavailable"),
        (ClusterUnavailable("away"), 503, "ServiceUnavailable"),
    ],
)
async def test_errors_have_a_reason(
    client: httpx.AsyncClient,
    discovery: FakeDiscovery,
    where: str,
    failure: Exception,
    status: int,
    reason: str,
) -> None:
    discovery.failure = failure
    answered, told = await ask(client, where)
    assert (answered, told["message"], told["reason"]) == (status, str(failure), reason)


async def test_an_error_after_the_first_line_is_the_last_line(
    client: httpx.AsyncClient, discovery: FakeDiscovery
) -> None:
    discovery.steps = [Progress(0, 2)]
    discovery.failure = PodmanUnavailable("no socket")
    progress, status = await listed(client)
    assert progress == {"progress": {"done": 0, "total": 2}}
    assert (status["kind"], status["code"], status["message"]) == ("Status", 503, "no socket")


@pytest.mark.parametrize("where", [LIST, INSPECT, SEARCH])
async def test_what_nobody_expects_is_in_the_log_alone(
    client: httpx.AsyncClient, discovery: FakeDiscovery, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    message = "this could not be answered; the log of the operator, or of the gateway, says why"
    discovery.failure = OSError(28, "No space left on device", "/var/lib/stromboli/access")
    status, told = await ask(client, where)
    assert (status, told["message"]) == (500, message)
    assert "No space left on device" in caplog.text
    if where == LIST:
        discovery.steps = [Progress(0, 2)]
        assert (await listed(client))[-1]["message"] == message


async def test_few_are_answered_at_a_time(client: httpx.AsyncClient, discovery: FakeDiscovery) -> None:
    discovery.held = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(ask(client, SEARCH)) for _ in range(2 * images.SEARCHES)]
        lists = [group.create_task(listed(client)) for _ in range(2 * images.LISTS)]
        await discovery.until(images.SEARCHES + images.LISTS)
        discovery.held.set()
    assert {task.result()[0] for task in asked} == {200}
    assert all(task.result() for task in lists)
    assert discovery.most == images.SEARCHES + images.LISTS


async def test_what_takes_too_long_is_given_up(
    client: httpx.AsyncClient, discovery: FakeDiscovery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "SECONDS", 0.05)
    discovery.held = asyncio.Event()
    for where in (INSPECT, SEARCH):
        status, told = await ask(client, where)
        assert (status, "try again" in told["message"]) == (503, True)


async def test_a_list_does_not_wait_for_others_until_nobody_waits_any_more(
    client: httpx.AsyncClient, discovery: FakeDiscovery, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert max(images.TURN + PATIENCE, images.SECONDS, messages.READ_SECONDS) < SILENCE
    monkeypatch.setattr(images, "TURN", 0.05)
    discovery.held = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        lists = [group.create_task(listed(client)) for _ in range(images.LISTS)]
        await discovery.until(images.LISTS)
        status, told = await ask(client, LIST)
        assert (status, told["message"]) == (503, f"{images.LISTS} other lists are being made; try again")
        discovery.held.set()
    assert all(task.result() for task in lists)
    assert len(await listed(client)) == 1, "there is room again"
