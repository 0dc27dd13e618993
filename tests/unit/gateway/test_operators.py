"""Whether an operator is ready, in sum, in words for whoever asks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from stromboli.errors import ClusterUnavailable
from stromboli.gateway import operators
from stromboli.gateway.onward import Unanswered
from stromboli.gateway.operators import Operators


class Nodes:
    """Operators that answer as a test says: with the names of what is wrong, not at all, or never."""

    def __init__(self, **nodes: Sequence[str] | None) -> None:
        self.nodes = nodes
        self.away = False
        self.hang: set[str] = set()

    async def addresses(self) -> Mapping[str, str]:
        if self.away:
            raise ClusterUnavailable("the API server at 10.0.0.1:6443 does not answer")
        return {node: f"10.0.0.7:{len(node)}" for node in self.nodes}

    async def problems(self, node: str, address: str) -> Sequence[str]:
        if node in self.hang:
            await asyncio.Event().wait()
        if (found := self.nodes[node]) is None:
            raise Unanswered(node, f"{address}: refused")
        return found


async def found(nodes: Nodes, wrong: str = "") -> str:
    return await Operators(nodes.addresses, nodes, lambda: wrong).problem()


async def test_one_that_is_ready_is_enough() -> None:
    nodes = Nodes(alpha=None, beta=["podman"], gamma=[], delta=[])
    nodes.hang = {"delta"}
    assert await found(nodes) == ""


async def test_none_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "SECONDS", 0.2)
    nodes = Nodes(alpha=None, beta=["podman", "disk"])
    assert await found(nodes) == "no operator is ready: disk, no answer, podman"
    nodes.hang = {"beta"}
    assert await found(nodes) == "no operator is ready: no answer"


async def test_none_can_be_asked() -> None:
    nodes = Nodes()
    assert await found(nodes) == "no operator has said where it listens"
    nodes.away = True
    assert "10.0.0.1" not in await found(nodes)
    assert await found(nodes, "10.0.0.1 does not answer") == "the gateway is not ready; its log says why"
