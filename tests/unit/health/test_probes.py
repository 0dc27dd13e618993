"""Asking Podman and the disk: neither one that refuses nor one that hangs stops the other, and changes are logged."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

import pytest

from stromboli.errors import PodmanUnavailable
from stromboli.health import probes
from stromboli.health.checks import Health
from stromboli.health.probes import Probes


class Node:
    """Podman and the disk; `says` and `holds` are what they do."""

    def __init__(self) -> None:
        self.says: str | None = None
        self.holds: asyncio.Event | None = None
        self.asked = 0
        self.probes = Probes({"podman": self._podman, "disk": self._disk})
        self.health = Health({}, {name: partial(self.probes.problem, name) for name in ("podman", "disk")})

    async def _podman(self) -> None:
        if self.says is not None:
            raise PodmanUnavailable(self.says)

    async def _disk(self) -> None:
        self.asked += 1
        if self.holds is not None:
            await self.holds.wait()


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    monkeypatch.setattr(probes, "PATIENCE", 0.01)
    return Node()


async def test_nothing_is_well_before_it_was_asked_for(node: Node) -> None:
    assert node.health.problems() == ["podman: not asked yet", "disk: not asked yet"]
    await node.probes.once()
    assert node.health.problems() == []


async def test_what_is_refused_is_said(node: Node) -> None:
    node.says = "Podman is not there"
    await node.probes.once()
    assert node.health.problems() == ["podman: Podman is not there (for 0 s)"]


async def test_what_hangs_is_not_asked_again(node: Node) -> None:
    node.holds = asyncio.Event()
    await node.probes.once()
    await node.probes.once()
    assert node.asked == 1
    assert node.health.problems() == ["disk: no answer within 0 s (for 0 s)"]
    node.holds.set()
    await node.probes.once()
    assert node.health.problems() == []
    await node.probes.once()
    assert node.asked == 2


async def test_what_changes_is_logged_once(
    node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(probes, "EVERY", 0.0)
    node.says = "Podman is not there"
    running = asyncio.create_task(node.probes.run(node.health))

    async def until(said: str) -> None:
        for _ in range(1000):
            if said in caplog.text:
                return
            await asyncio.sleep(0)
        raise AssertionError(f"not logged in 1000 rounds of the loop: {said}")

    await until("not ready: podman: Podman is not there")
    node.says = None
    await until("podman is well again")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert caplog.text.count("not ready") == 1
