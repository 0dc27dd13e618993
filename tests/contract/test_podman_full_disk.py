"""A disk that is really full: a small tmpfs with an isolated Podman's storage."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from stromboli.errors import NoSpace
from stromboli.podman import Podman
from tests.support.fake_registry import FakeRegistry
from tests.support.podman import IsolatedPodman

LIMIT = 30.0
BODY = {"command": ["true"], "netns": {"nsmode": "none"}}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    disk = tmp_path / "d"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture
def small(disk: Path, registry_address: str) -> Iterator[IsolatedPodman]:
    with IsolatedPodman(disk / "p", insecure=[registry_address]) as podman:
        yield podman


@pytest.fixture
async def client(small: IsolatedPodman) -> AsyncIterator[Podman]:
    async with Podman(small.socket) as podman:
        yield podman


async def test_a_pull_that_does_not_fit(client: Podman, registry_address: str) -> None:
    async with FakeRegistry(registry_address) as registry:
        registry.publish("team/large", "1", size=30 << 20)
        with pytest.raises(NoSpace):
            await asyncio.wait_for(client.images.pull(f"{registry_address}/team/large:1"), LIMIT)


async def test_a_container_that_does_not_fit(small: IsolatedPodman, client: Podman, disk: Path) -> None:
    body = BODY | {"image": small.import_busybox()}
    created = await client.containers.create(body)
    _fill(disk / "filling")
    try:
        for call in (
            client.containers.create(body),
            client.containers.start(created),
            client.volumes.create("more", {}),
            client.networks.create("more", {}),
        ):
            with pytest.raises(NoSpace, match="no space left on device"):
                await call
        state = await client.containers.inspect(created)
        assert state is not None
        assert state.status == "created", "existing objects can still be inspected"
    finally:
        (disk / "filling").unlink()
    assert await client.containers.start(created), "and it works again once there is space"


def _fill(file: Path) -> None:
    descriptor = os.open(file, os.O_CREAT | os.O_WRONLY)
    try:
        while os.write(descriptor, bytes(4096)):
            pass
    except OSError as error:
        assert error.errno == errno.ENOSPC  # noqa: PT017 (the loop ends in no other way)
    finally:
        os.close(descriptor)
