"""Each container of a session is watched by itself, and only an agent's records can be too large."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stromboli import naming
from stromboli.attempt import usage
from stromboli.attempt.site import Site
from stromboli.naming import ContainerKey, Role
from stromboli.node.ends import Ends
from stromboli.node.guard import Guard
from stromboli.podman.transport import Podman
from tests.support.fake_podman import FakePodman
from tests.support.fake_podman_wire import within

UID = "0b2c6f7e-0000-4000-8000-000000000001"
AGENT, SERVICE = naming.agent(UID), ContainerKey(UID, Role("service.db"))
LONG = 60.0


class Bed:
    """Both containers of a session, running; `woken` has who was woken."""

    def __init__(self, fake: FakePodman, podman: Podman) -> None:
        self.fake, self.podman = fake, podman
        self.woken: asyncio.Queue[str] = asyncio.Queue()
        self.ends = Ends(podman, self.woken.put_nowait)

    def end(self, key: ContainerKey) -> None:
        self.fake.finish(next(c for c in self.fake.containers.values() if c.name == key.name), 0)

    def running(self) -> set[str]:
        return {c.name for c in self.fake.containers.values() if c.status == "running"}


@pytest.fixture
async def bed(tmp_path: Path) -> AsyncIterator[Bed]:
    async with FakePodman(tmp_path / "podman.sock", served=False) as fake, within(fake.within) as podman:
        fake.add_image("localhost/any:1", root=tmp_path)
        made = Bed(fake, podman)
        for key in (AGENT, SERVICE):
            await podman.containers.create({"name": key.name, "image": "localhost/any:1"})
            await podman.containers.start(key.name)
            made.ends.watch(key, f"woken by {key.role}", LONG)
        yield made
        await made.ends.close()
        for key in (AGENT, SERVICE):
            made.end(key)


async def test_the_end_of_one_is_not_that_of_another(bed: Bed) -> None:
    bed.end(SERVICE)
    assert await bed.woken.get() == "woken by service.db"
    assert bed.ends.watched() == [AGENT]
    bed.end(AGENT)
    assert await bed.woken.get() == "woken by agent"
    assert bed.ends.watched() == []
    assert bed.woken.empty()


async def test_one_that_is_forgotten_leaves_the_other_watched(bed: Bed) -> None:
    bed.ends.forget(SERVICE)
    assert bed.ends.watched() == [AGENT]


async def test_only_the_agent_s_container_is_killed_for_its_records(
    bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "is_too_large", lambda _: True)
    await Guard(bed.podman, Site(tmp_path, tmp_path, "here"), bed.ends.watched).once()
    assert bed.running() == {SERVICE.name}
