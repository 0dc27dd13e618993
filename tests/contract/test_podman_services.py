"""What the containers of service stacks need: to be initialized, stopped with a grace, read, and described."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from stromboli.errors import NotFound, PodmanError
from stromboli.podman.container_detail import Mount
from stromboli.podman.failures import answer
from tests.contract.conftest import Bed
from tests.support.fake_podman import Program

LIMIT = 30.0
LOG = {"driver": "k8s-file", "size": 64 * 1024}


async def test_a_container_is_initialized_once_and_then_started(bed: Bed) -> None:
    containers = bed.podman.containers
    container = await containers.create(bed.body("sleep", "60"))
    assert await containers.init(container)
    state = await containers.inspect(container)
    assert state is not None
    assert (state.status, state.running, state.exit_code) == ("initialized", False, None)
    assert state.pid != 0
    assert not await containers.init(container)
    assert await containers.start(container)
    assert not await containers.init(container)
    state = await containers.inspect(container)
    assert state is not None
    assert state.running
    with pytest.raises(NotFound):
        await containers.init("nobody")


async def test_an_initialized_container_is_put_back_and_can_be_removed(bed: Bed) -> None:
    containers = bed.podman.containers
    container = await bed.ended("sh", "-c", "exit 3")
    assert await containers.init(container)
    assert await containers.stop(container)
    state = await containers.inspect(container)
    assert state is not None
    assert state.status == "exited"
    await containers.init(container)
    assert await containers.remove(container)


async def test_one_that_was_never_started_is_stopped_already(bed: Bed) -> None:
    container = await bed.podman.containers.create(bed.body("sleep", "60"))
    assert await bed.podman.containers.stop(container, grace=1)
    state = await bed.podman.containers.inspect(container)
    assert state is not None
    assert (state.status, state.exit_code) == ("created", None)


async def test_one_that_ignores_its_stop_signal_is_killed_after_the_grace(bed: Bed) -> None:
    container = await bed.run("sleep", "60")
    began = time.monotonic()
    assert await bed.podman.containers.stop(container, grace=1)
    assert 0.9 < time.monotonic() - began < LIMIT
    state = await bed.podman.containers.inspect(container)
    assert state is not None
    assert (state.status, state.exit_code) == ("exited", 137)


async def test_one_that_obeys_its_own_stop_signal_is_not_waited_for(bed: Bed) -> None:
    if bed.fake is not None:
        bed.fake.program = lambda _: Program(ignores=frozenset({"TERM"}), stopped=5)
    script = "trap 'exit 5' USR1; trap '' TERM; : > /ready; while :; do sleep 0.05; done"
    container = await bed.run("sh", "-c", script, stop_signal=signal.SIGUSR1)
    if bed.real:
        await _ready(bed, container)
    began = time.monotonic()
    assert await bed.podman.containers.stop(container, grace=60)
    assert time.monotonic() - began < LIMIT
    state = await bed.podman.containers.inspect(container)
    assert state is not None
    assert (state.status, state.exit_code) == ("exited", 5)


async def _ready(bed: Bed, container: str) -> None:
    async with asyncio.timeout(LIMIT):
        while await bed.podman.archive.stat(container, "/ready") is None:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.02)


async def test_the_end_of_a_log_is_read(bed: Bed) -> None:
    container = await bed.ended("sh", "-c", "echo said; exit 3", log_configuration=LOG)
    assert await bed.podman.logs.tail(container, 10, 4096) == "said\n"
    await bed.podman.containers.start(container)
    await bed.podman.containers.wait(container)
    assert await bed.podman.logs.tail(container, 10, 4096) == "said\nsaid\n", "a log goes on over restarts"
    assert await bed.podman.logs.tail(container, 1, 4096) == "said\n"
    assert await bed.podman.logs.tail(container, 10, 7) == "said\n"
    with pytest.raises(NotFound):
        await bed.podman.logs.tail("nobody", 10, 4096)


async def test_all_of_a_log_is_read_or_what_was_written_lately(bed: Bed) -> None:
    container = await bed.ended("sh", "-c", "echo said; exit 3", log_configuration=LOG)
    assert await _read(bed, container) == b"said\n"
    assert await _read(bed, container, since=time.time() - 60) == b"said\n"
    assert await _read(bed, container, since=time.time() + 60) == b""
    with pytest.raises(NotFound):
        await _read(bed, "nobody")


async def test_a_log_is_followed_until_the_container_ends(bed: Bed) -> None:
    """Podman's answer may begin only with the first line."""
    script = "echo first; while ! [ -e /go ]; do sleep 0.02; done; echo last"
    if bed.fake is not None:
        bed.fake.program = lambda _: Program(output=b"first\n")
    container = await bed.run("sh", "-c", script, log_configuration=LOG)
    async with asyncio.timeout(LIMIT), bed.podman.logs.whole(container, follow=True) as pieces:
        assert await anext(pieces) == b"first\n"
        if bed.fake is None:
            await bed.podman.archive.make_folder(container, "/go")
        else:
            fake = bed.fake.find(container)
            assert fake is not None
            fake.log += b"last\n"
            bed.fake.finish(fake, 0)
        assert b"".join([piece async for piece in pieces]) == b"last\n"
    async with asyncio.timeout(LIMIT):
        assert await _read(bed, container, follow=True) == b"first\nlast\n", "one that has ended is not waited for"


async def _read(bed: Bed, container: str, **how: Any) -> bytes:
    async with bed.podman.logs.whole(container, **how) as pieces:
        return b"".join([piece async for piece in pieces])


async def test_a_container_without_a_log(bed: Bed) -> None:
    container = await bed.ended("true")
    with pytest.raises(PodmanError, match="not logging output"):
        await bed.podman.logs.tail(container, 10, 4096)


@pytest.mark.parametrize("size", [64 * 1024, None])
async def test_a_log_is_bounded_by_size_alone(real: Bed, size: int | None) -> None:
    configuration = LOG if size is not None else {"driver": "k8s-file", "options": {"max-size": "64k"}}
    script = "n=0; while [ $n -lt 5000 ]; do echo line $n of a log that is long; n=$((n+1)); done; echo last"
    container = await real.ended("sh", "-c", script, log_configuration=configuration)
    response = await real.podman._connection.request("GET", f"/containers/{container}/json")
    path = Path(answer(response.content)["HostConfig"]["LogConfig"]["Path"])
    assert (path.stat().st_size <= 64 * 1024) is (size is not None)
    assert (await real.podman.logs.tail(container, 2, 4096)).endswith("last\n")


async def test_a_container_is_described(bed: Bed, tmp_path: Path) -> None:
    name, network = bed.name(), bed.name()
    volume = await bed.podman.volumes.create(name, bed.mark)
    await bed.podman.networks.create(network, bed.mark)
    container = await bed.run(
        "sleep",
        "60",
        netns={"nsmode": "bridge"},
        Networks={network: {"aliases": ["db"]}},
        volumes=[{"Name": name, "Dest": "/data", "Options": ["rw"]}],
        mounts=[{"type": "bind", "source": str(tmp_path), "destination": "/in", "options": ["ro", "rbind"]}],
    )
    found = await bed.podman.containers.detail(container)
    assert found is not None
    assert found.state == await bed.podman.containers.inspect(container)
    assert found.image == bed.image
    assert sorted(found.mounts, key=lambda mount: mount.destination) == [
        Mount("volume", name, volume.mountpoint, "/data", writable=True),
        Mount("bind", "", str(tmp_path), "/in", writable=False),
    ]
    assert list(found.addresses) == [network]
    assert found.addresses[network].startswith("10.")
    await bed.podman.containers.stop(container)
    ended = await bed.podman.containers.detail(container)
    assert ended is not None
    assert ended.addresses == {}
    assert await bed.podman.containers.detail("nobody") is None
