"""The read API's routes about images: who gets what, streamed lists, and every error as a sentence with a reason."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from stromboli.api import images, issue, listener
from stromboli.api.tokens import serving
from stromboli.errors import ClusterUnavailable, ImageMissing, PodmanUnavailable, Refused
from stromboli.perform.images.discovery import PATIENCE, Progress
from stromboli.reasons import Reason
from tests.support.fake_discovery import FakeDiscovery, inspected, row
from tests.support.fake_reviews import FakeReviews
from tests.unit.api.test_server import ask, client_of

CERTIFICATE = issue.make(["127.0.0.1", "::1", "localhost"], datetime.now(UTC))
LIST = "/apis/stromboli.dev/v1alpha1/namespaces/ns/images"
INSPECT, SEARCH = f"{LIST}/inspect?reference=python:3.12", f"{LIST}/search?query=python"


@pytest.fixture
def reviews() -> FakeReviews:
    return FakeReviews()


@pytest.fixture
def discovery() -> FakeDiscovery:
    found = FakeDiscovery()
    found.images = [row("docker.io/library/python:3.12"), row("docker.io/library/alpine:3", rank=4, allowed=False)]
    found.inspected = {"python:3.12": inspected("docker.io/library/python:3.12")}
    return found


@pytest.fixture
async def client(reviews: FakeReviews, discovery: FakeDiscovery, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async def nothing(*_: str) -> None:
        return

    async with (
        serving(
            reviews=reviews,
            lookup=nothing,
            read=nothing,
            discovery=discovery,
            home=tmp_path,
            certificate=CERTIFICATE,
        ),
        client_of(tmp_path) as client,
    ):
        yield client


async def listed(client: httpx.AsyncClient, who: str = "alice", where: str = LIST) -> list[dict[str, Any]]:
    response = await client.get(where, headers={"Authorization": f"Bearer {who}"})
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


async def test_a_list_says_how_far_it_is_before_it_comes(client: httpx.AsyncClient, discovery: FakeDiscovery) -> None:
    discovery.steps = [Progress(0, 2), Progress(1, 2)]
    first, second, last = await listed(client)
    assert (first, second) == ({"progress": {"done": 0, "total": 2}}, {"progress": {"done": 1, "total": 2}})
    assert last == {"node": "node-1", "incomplete": 0, "images": [row("docker.io/library/python:3.12")]}


async def test_all_images_are_for_those_who_may_list_them_everywhere(
    client: httpx.AsyncClient, discovery: FakeDiscovery
) -> None:
    status, told = await ask(client, where=f"{LIST}?all=true")
    assert (status, told["reason"]) == (403, "Forbidden")
    assert "alice may not list agentimages of stromboli.dev in all namespaces" in told["error"]
    assert "ClusterRoleBinding" in told["error"]
    assert discovery.asked == []
    (answer,) = await listed(client, "root", f"{LIST}?all=true")
    assert len(answer["images"]) == 2


@pytest.mark.parametrize("where", [LIST, INSPECT, SEARCH])
@pytest.mark.parametrize(("who", "status"), [(None, 401), ("mallory", 401), ("bob", 403)])
async def test_who_may_not_learns_nothing(
    client: httpx.AsyncClient, discovery: FakeDiscovery, where: str, who: str | None, status: int
) -> None:
    answered, told = await ask(client, who, where)
    assert (answered, "error" in told, discovery.asked) == (status, True, [])


@pytest.mark.parametrize("where", [LIST, INSPECT, SEARCH])
async def test_another_namespace(client: httpx.AsyncClient, discovery: FakeDiscovery, where: str) -> None:
    assert (await ask(client, where=where.replace("/ns/", "/other/")))[0] == 403
    assert (await ask(client, where=where.replace("/ns/", "/a%2fb/")))[0] == 404
    assert discovery.asked == []


async def test_the_verbs_are_those_of_agent_images(client: httpx.AsyncClient, reviews: FakeReviews) -> None:
    await listed(client)
    await ask(client, where=INSPECT)
    assert reviews.asked == ["person alice", "access alice list ns", "access alice get ns"]


async def test_what_is_in_an_image(client: httpx.AsyncClient) -> None:
    assert await ask(client, where=INSPECT) == (200, inspected("docker.io/library/python:3.12"))


async def test_a_search(client: httpx.AsyncClient, discovery: FakeDiscovery) -> None:
    assert (await ask(client, where=f"{LIST}/search?query=%20python%20%203&limit=7"))[0] == 200
    assert (await ask(client, where=SEARCH))[0] == 200
    assert discovery.asked == [("search", "ns", "python 3", 7), ("search", "ns", "python", 25)]


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("images?all=yes", "must be true or false"),
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
    status, told = await ask(client, where=LIST.replace("images", query))
    assert (status, word in told["error"], discovery.asked) == (400, True, [])


@pytest.mark.parametrize("where", [LIST, INSPECT, SEARCH])
@pytest.mark.parametrize(
    ("failure", "status", "reason"),
    [
        (Refused(Reason.ImageNotAllowed, "the image is not allowed"), 403, "ImageNotAllowed"),
        (Refused(Reason.PolicyViolation, "cannot be read"), 403, "PolicyViolation"),
        (Refused(Reason.InvalidSpec, "no reference"), 400, "InvalidSpec"),
        (ImageMissing("not on the node"), 404, "ImageMissing"),
        (PodmanUnavailable("no socket"), 503, None),
        (ClusterUnavailable("away"), 503, None),
    ],
)
async def test_errors_have_a_reason(
    client: httpx.AsyncClient,
    discovery: FakeDiscovery,
    where: str,
    failure: Exception,
    status: int,
    reason: str | None,
) -> None:
    discovery.failure = failure
    answered, told = await ask(client, where=where)
    assert (answered, told["error"], told.get("reason")) == (status, str(failure), reason)


async def test_an_error_after_the_first_line_is_the_last_line(
    client: httpx.AsyncClient, discovery: FakeDiscovery
) -> None:
    discovery.steps = [Progress(0, 2)]
    discovery.failure = PodmanUnavailable("no socket")
    assert await listed(client) == [{"progress": {"done": 0, "total": 2}}, {"error": "no socket"}]


@pytest.mark.parametrize("where", [LIST, INSPECT, SEARCH])
async def test_what_nobody_expects_is_in_the_log_alone(
    client: httpx.AsyncClient, discovery: FakeDiscovery, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    told = {"error": "the operator could not answer this; its log says why"}
    discovery.failure = OSError(28, "No space left on device", "/var/lib/stromboli/access")
    assert await ask(client, where=where) == (500, told)
    assert "No space left on device" in caplog.text
    if where == LIST:
        discovery.steps = [Progress(0, 2)]
        assert (await listed(client))[-1] == told


async def test_few_are_answered_at_a_time(client: httpx.AsyncClient, discovery: FakeDiscovery) -> None:
    discovery.held = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(ask(client, where=SEARCH)) for _ in range(2 * images.SEARCHES)]
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
        status, told = await ask(client, where=where)
        assert (status, "try again" in told["error"]) == (503, True)


async def test_a_list_does_not_wait_for_others_until_its_connection_is_closed(
    client: httpx.AsyncClient, discovery: FakeDiscovery, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert images.TURN + PATIENCE < listener.LIFE
    monkeypatch.setattr(images, "TURN", 0.05)
    discovery.held = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        lists = [group.create_task(listed(client)) for _ in range(images.LISTS)]
        await discovery.until(images.LISTS)
        status, told = await ask(client, where=LIST)
        assert (status, told["error"]) == (503, f"{images.LISTS} other lists are being made; try again")
        discovery.held.set()
    assert all(task.result() for task in lists)
    assert len(await listed(client)) == 1, "there is room again"
