"""What a run says while its agent is at work, and which MCP servers it works without."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.unit.reconcile.conftest import Inside, Node

RETRY = {"type": "system", "subtype": "api_retry", "max_retries": 10, "error_status": 401, "error": "no"}


def line(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode() + b"\n"


def init(**servers: str) -> bytes:
    listed = [{"name": name, "status": status} for name, status in servers.items()]
    return line({"type": "system", "subtype": "init", "mcp_servers": listed})


def events(node: Node, reason: str) -> list[dict[str, Any]]:
    return [event for event in node.cluster.events.values() if event["reason"] == reason]


async def test_requests_that_fail_are_said_once_and_so_is_that_they_no_longer_do(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stromboli.plan.progress.FIRST_CHECK", 0.02)
    monkeypatch.setattr("stromboli.plan.follow.AT_WORK_AFTER", 0.0)
    recovered = asyncio.Event()

    async def agent(inside: Inside) -> None:
        (inside.out / "stdout").write_bytes(init() + line(RETRY))
        await recovered.wait()
        with (inside.out / "stdout").open("ab") as output:
            output.write(line({**RETRY, "attempt": 2}) + line({"type": "assistant"}))

    node.agent = agent
    node.run()
    async with node.process():
        await node.until(lambda: bool(node.status()) and "answers 401" in node.message(), "the run says so")
        writes = len(node.cluster.writes)
        looks = len(node.fake.calls)
        await node.until(lambda: len(node.fake.calls) > looks + 5, "it is looked at again")
        assert len([w for w in node.cluster.writes[writes:] if w.startswith("status")]) == 0
        recovered.set()
        await node.until(lambda: node.message() == "the agent is at work", "the run says so")
    [told] = events(node, "RequestsFail")
    assert told["type"] == "Warning"
    assert "credentials of the AgentPolicy" in told["message"]


async def test_mcp_servers_that_did_not_start(node: Node) -> None:
    async def agent(inside: Inside) -> None:
        node.answer(inside, before=init(one="connected", two="failed"))

    node.agent = agent
    node.run(claude={"mcpConfigs": [{"mcpServers": {name: {"command": "x"} for name in ("one", "two", "three")}}]})
    async with node.process():
        await node.cleared()
    assert node.status()["phase"] == "Succeeded"
    found = {server["name"]: server["status"] for server in node.status()["mcpServers"]}
    assert found == {"one": "connected", "two": "failed", "three": "missing"}
    [told] = events(node, "MCPServerFailed")
    assert "two: failed" in told["message"]
    assert "three: missing" in told["message"]


async def test_a_run_whose_servers_all_started_has_no_such_event(node: Node) -> None:
    async def agent(inside: Inside) -> None:
        node.answer(inside, before=init(one="connected"))

    node.agent = agent
    node.run()
    async with node.process():
        await node.cleared()
    assert node.status()["mcpServers"] == [{"name": "one", "status": "connected"}]
    assert events(node, "MCPServerFailed") == []
