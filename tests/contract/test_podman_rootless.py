"""What service stacks need of Podman, on a rootless one. The operator would be its user; the tests are root."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from stromboli.errors import Unstartable
from stromboli.podman import Podman
from stromboli.podman.builds import Recipe
from stromboli.podman.execs import Executed
from tests.contract.test_podman_builds import context
from tests.support import tun
from tests.support.ordinary_user import ordinary_user
from tests.support.podman import BUSYBOX_IMAGE, IsolatedPodman

LIMIT = 60.0
BODY = {
    "image": BUSYBOX_IMAGE,
    "command": ["sleep", "60"],
    "netns": {"nsmode": "none"},
    "log_configuration": {"driver": "k8s-file", "size": 64 * 1024},
}


@pytest.fixture(scope="module")
def isolated() -> Iterator[IsolatedPodman]:
    with ordinary_user() as user, tun.usable(user.uid), IsolatedPodman(user=user) as podman:
        podman.import_busybox()
        yield podman


@pytest.fixture
async def client(isolated: IsolatedPodman) -> AsyncIterator[Podman]:
    async with Podman(isolated.socket) as podman:
        yield podman


async def test_commands_end_and_are_forgotten(client: Podman) -> None:
    container = await client.containers.create(BODY)
    try:
        assert await client.containers.init(container)
        await client.containers.start(container)
        executed = await client.execs.run(container, ["sh", "-c", "echo said; exit 3"], limit=LIMIT)
        assert executed == Executed(3, "said\n", ended=True)
        assert await client.execs.run(container, ["sleep", "50"], limit=0.5) == Executed(None, "", ended=True)
        assert await client.execs.run(container, ["true"], limit=LIMIT) == Executed(0, "", ended=True)
        assert await client.containers.stop(container, grace=1)
    finally:
        await client.containers.remove(container)


async def test_a_port_that_is_taken(client: Podman) -> None:
    await client.networks.create("net", {}, isolate=True)
    body = {**BODY, "netns": {"nsmode": "bridge"}, "Networks": {"net": {}}}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = {"container_port": 80, "host_ip": "127.0.0.1", "host_port": taken.getsockname()[1]}
        container = await client.containers.create({**body, "portmappings": [port]})
        with pytest.raises(Unstartable, match="address already in use"):
            await client.containers.start(container)
    # As it is free now; and Podman ends what it has started for the networks only after a container that has run.
    assert await client.containers.start(container)
    await client.containers.remove(container)
    await client.networks.remove("net")


async def test_a_folder_is_made(client: Podman) -> None:
    container = await client.containers.create(BODY)
    try:
        assert await client.archive.make_folder(container, "/a/b") == "/a/b"
    finally:
        await client.containers.remove(container)


async def test_a_build_has_no_network_and_no_limits_that_it_cannot_have(client: Podman) -> None:
    said: list[str] = []
    recipe = Recipe("Dockerfile", {"own": "1"}, memory=64 << 20, cpus=500, rootless=True)
    dockerfile = f"FROM {BUSYBOX_IMAGE}\nRUN /bin/busybox ip -4 addr; cat /proc/self/status\n"
    made = await client.builds.build(context(dockerfile), recipe, limit=LIMIT, on_line=said.append)
    assert [line.split()[1] for line in said if line.split()[:1] == ["inet"]] == ["127.0.0.1/8"]
    assert "Seccomp:\t2" in said
    await client.copies.remove(made)


async def test_a_build_that_is_given_up_is_ended(client: Podman) -> None:
    begun = asyncio.Event()
    dockerfile = f"FROM {BUSYBOX_IMAGE}\nRUN trap '' TERM; echo begun; sleep 3603 & sleep 3603\nRUN sleep 3604\n"
    recipe = Recipe("Dockerfile", {"own": "1"}, rootless=True)

    def hear(line: str) -> None:
        if line == "begun":
            begun.set()

    building = asyncio.create_task(client.builds.build(context(dockerfile), recipe, limit=LIMIT, on_line=hear))
    await asyncio.wait_for(begun.wait(), LIMIT)
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(building, LIMIT)
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if _read(path) == b"sleep\x003603\x00"]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended
        return b""
