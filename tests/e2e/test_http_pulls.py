"""Pulls by HTTP that last: their progress, clients that hang up, and a gateway that dies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from lightkube import Client

from tests.e2e.test_images import Registry
from tests.support.agentimages import AgentImages
from tests.support.fake_registry import FakeRegistry
from tests.support.http_api import HttpApi
from tests.support.runs import condition
from tests.support.waiting import eventually

SIZE = 4 << 20


@pytest.fixture(scope="module")
def registry(registry_address: str) -> Iterator[FakeRegistry]:
    with Registry(registry_address) as served:
        yield served


@pytest.fixture(autouse=True)
def cleared(http_api: HttpApi, client: Client) -> Iterator[None]:
    yield
    AgentImages(client, http_api.namespace).clear()


def ready(http_api: HttpApi) -> str:
    """The reason of the only AgentImage's `Ready`; empty without one."""
    found = json.loads(http_api.kubectl("-n", http_api.namespace, "get", "agentimages", "-o", "json"))["items"]
    assert len(found) <= 1
    return str(condition(found[0], "Ready").get("reason", "")) if found else ""


def until(http_api: HttpApi, reason: str) -> None:
    eventually(lambda: ready(http_api) == reason, f"the image is {reason}", lambda: ready(http_api))


def slow(registry: FakeRegistry, name: str, seconds: float) -> dict[str, Any]:
    """The request for an image whose pull takes so long."""
    registry.publish(name, "1", size=SIZE)
    registry.drip(seconds)
    return {"image": f"{registry.address}/{name}:1"}


def test_the_progress_of_a_pull(http_api: HttpApi, registry: FakeRegistry) -> None:
    body = slow(registry, "http/progress", 3.0)
    with http_api.stream("POST", "/images/pull", body) as answer:
        lines = [line for line in answer.iter_lines() if line]
    steps = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert lines[-2] == "event: done"
    assert (steps[-1]["success"], steps[-1]["image"]) == (True, body["image"])
    assert any(0 < step["fetched"] < step["size"] for step in steps[:-1]), steps


def test_a_client_that_hangs_up(http_api: HttpApi, registry: FakeRegistry) -> None:
    body = slow(registry, "http/hung-up", 3.0)
    with pytest.raises(httpx2.ReadTimeout):
        http_api.call("POST", "/images/pull", body, within=1.0)
    until(http_api, "Present")
    assert http_api.call("POST", "/images/pull", body, within=5.0).body["success"] is True


def test_a_gateway_that_is_killed(http_api: HttpApi, registry: FakeRegistry) -> None:
    body = slow(registry, "http/killed", 6.0)
    with http_api.stream("POST", "/images/pull", body) as answer:
        lines = answer.iter_lines()
        next(lines)
        http_api.kill()
        with pytest.raises(httpx2.TransportError):
            list(lines)
    try:
        assert ready(http_api) in ("", "Pulling")
    finally:
        http_api.start()
    assert http_api.call("POST", "/images/pull", body).body["success"] is True
