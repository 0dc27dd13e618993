"""Containers: from create to remove, on the fake and on the real Podman."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stromboli.errors import NotFound, PodmanError, PodmanUnavailable
from stromboli.podman import Podman
from tests.contract.conftest import Bed
from tests.support.fake_podman import FakePodman
from tests.support.podman import IsolatedPodman

LIMIT = 20.0


async def test_a_container_goes_from_create_to_its_end(bed: Bed) -> None:
    containers = bed.podman.containers
    began = datetime.now(UTC)
    body = bed.body("sh", "-c", "exit 3")
    container = await containers.create(body)
    created = await containers.inspect(str(body["name"]))
    assert created is not None
    assert (created.id, created.name, created.labels) == (container, body["name"], bed.mark)
    assert (created.status, created.running, created.exit_code, created.started_at) == ("created", False, None, None)

    assert await containers.start(container)
    assert await asyncio.wait_for(containers.wait(container), LIMIT) == 3

    ended = await containers.inspect(container)
    assert ended is not None
    assert (ended.status, ended.running, ended.exit_code, ended.oom_killed) == ("exited", False, 3, False)
    assert ended.started_at is not None
    assert ended.finished_at is not None
    # Podman takes the finish time from a file's mtime, which the kernel rounds down to its tick
    assert began - timedelta(seconds=1) <= ended.started_at <= ended.finished_at + timedelta(seconds=0.1)


async def test_a_running_container_says_so(bed: Bed) -> None:
    container = await bed.run("sleep", "60")
    state = await bed.podman.containers.inspect(container)
    assert state is not None
    assert (state.status, state.running, state.exit_code, state.finished_at) == ("running", True, None, None)
    assert state.pid > 0
    image = await bed.podman.images.inspect(bed.image)
    assert image is not None
    assert state.image_id == image.id


async def test_an_ended_container_runs_again(bed: Bed) -> None:
    container = await bed.run("true")
    assert await asyncio.wait_for(bed.podman.containers.wait(container), LIMIT) == 0
    assert await bed.podman.containers.start(container)
    assert await asyncio.wait_for(bed.podman.containers.wait(container), LIMIT) == 0


async def test_starting_what_runs_is_no_error(bed: Bed) -> None:
    container = await bed.run("sleep", "60")
    assert not await bed.podman.containers.start(container)


@pytest.mark.parametrize("end", ["remove", "stop"])
async def test_a_container_that_ends_by_itself_meanwhile_is_stopped_and_removed(real: Bed, end: str) -> None:
    async def race(milliseconds: int) -> None:
        container = await real.run("sleep", "60")
        state = await real.podman.containers.inspect(container)
        assert state is not None
        os.kill(state.pid, signal.SIGKILL)
        await asyncio.sleep(milliseconds / 1000)  # any of these may be the moment in which Podman refuses
        assert await getattr(real.podman.containers, end)(container)

    for milliseconds in range(0, 48, 6):
        await race(milliseconds)


async def test_what_is_not_there(bed: Bed) -> None:
    containers = bed.podman.containers
    assert await containers.inspect("nobody") is None
    assert not await containers.kill("nobody")
    assert not await containers.remove("nobody")
    for call in (containers.start("nobody"), containers.wait("nobody"), containers.mount("nobody")):
        with pytest.raises(NotFound):
            await call


async def test_creating_from_an_image_that_is_not_there(bed: Bed) -> None:
    with pytest.raises(NotFound, match="image not known"):
        await bed.podman.containers.create(bed.body("true", image="localhost/nowhere:1"))


async def test_a_name_that_is_taken(bed: Bed) -> None:
    body = bed.body("true")
    container = await bed.podman.containers.create(body)
    with pytest.raises(PodmanError, match="already in use") as caught:
        await bed.podman.containers.create(body)
    assert not isinstance(caught.value, NotFound)
    found = await bed.podman.containers.inspect(str(body["name"]))
    assert found is not None
    assert found.id == container


async def test_kill_ends_at_once_and_only_what_runs(bed: Bed) -> None:
    containers = bed.podman.containers
    container = await containers.create(bed.body("sleep", "60"))
    assert not await containers.kill(container)
    await containers.start(container)
    assert await containers.kill(container, "KILL")
    assert await asyncio.wait_for(containers.wait(container), LIMIT) == 137
    assert not await containers.kill(container)


async def test_term_is_passed_on_and_may_be_ignored(bed: Bed) -> None:
    container = await bed.run("sleep", "60")  # PID 1 without a handler
    assert await bed.podman.containers.kill(container, "TERM")
    state = await bed.podman.containers.inspect(container)
    assert state is not None
    assert state.running


async def test_what_is_paused_runs_and_is_killed_as_such(real: Bed) -> None:
    containers = real.podman.containers
    container = await real.run("sleep", "60")
    await real.podman._connection.request("POST", f"/containers/{container}/pause")
    paused = await containers.inspect(container)
    assert paused is not None
    assert (paused.status, paused.running, paused.alive, paused.exit_code) == ("paused", False, True, None)
    assert await containers.kill(container)
    assert await asyncio.wait_for(containers.wait(container), LIMIT) == 137


async def test_a_containers_own_timeout_counts_from_each_start(real: Bed) -> None:
    """It is fixed at creation, so the container of a session, whose runs differ, gets the maximum."""
    container = await real.podman.containers.create({**real.body("sleep", "60"), "timeout": 1})
    for _ in range(2):
        assert await real.podman.containers.start(container)
        assert await asyncio.wait_for(real.podman.containers.wait(container), LIMIT) == -1
        state = await real.podman.containers.inspect(container)
        assert state is not None
        assert state.started_at is not None
        assert state.finished_at is not None
        assert timedelta(seconds=0.5) < state.finished_at - state.started_at < timedelta(seconds=10)


async def test_removing_by_force_does_not_wait_for_a_grace(bed: Bed) -> None:
    container = await bed.run("sleep", "60")
    with pytest.raises(PodmanError):
        await bed.podman.containers.remove(container, force=False)
    # Podman's default grace period would be 10 s
    assert await asyncio.wait_for(bed.podman.containers.remove(container), 8)
    assert await bed.podman.containers.inspect(container) is None


async def test_a_list_holds_what_bears_all_labels(bed: Bed) -> None:
    both = await bed.podman.containers.create(bed.body("true", labels=bed.mark | {"a": "1", "b": "2"}))
    one = await bed.podman.containers.create(bed.body("true", labels=bed.mark | {"a": "1"}))
    assert {c.id for c in await bed.podman.containers.list(bed.mark)} == {both, one}
    (found,) = await bed.podman.containers.list(bed.mark | {"a": "1", "b": "2"})
    assert (found.id, found.labels, found.status) == (both, bed.mark | {"a": "1", "b": "2"}, "created")
    assert await bed.podman.containers.list(bed.mark | {"a": "2"}) == []


async def test_a_mount_is_listed_and_stays_the_same(bed: Bed) -> None:
    container = await bed.podman.containers.create(bed.body("true"))
    assert container not in await bed.podman.containers.mounted()
    path = await bed.podman.containers.mount(container)
    assert path.startswith("/")
    assert await bed.podman.containers.mount(container) == path
    assert (await bed.podman.containers.mounted())[container] == path


async def test_a_hurried_wait_learns_of_the_end(bed: Bed) -> None:
    hurry = asyncio.Event()
    container = await bed.run("sleep", "60")
    waiting = asyncio.create_task(bed.podman.containers.wait(container, interval=30.0, hurry=hurry))
    hurry.set()
    await bed.podman.containers.kill(container)
    assert await asyncio.wait_for(waiting, LIMIT) == 137


async def test_a_hurried_wait_ends_when_the_container_is_removed(bed: Bed) -> None:
    hurry = asyncio.Event()
    container = await bed.run("sleep", "60")
    waiting = asyncio.create_task(bed.podman.containers.wait(container, interval=30.0, hurry=hurry))
    hurry.set()
    await bed.podman.containers.remove(container)
    try:
        assert await asyncio.wait_for(waiting, LIMIT) == 137  # the wait saw it before it was removed
    except NotFound as error:
        assert container in str(error) or "no such container" in str(error)  # noqa: PT017 (either is right)


async def test_fifty_waits_at_once_leave_room_for_other_calls(bed: Bed) -> None:
    container = await bed.run("sleep", "60")
    waits = [asyncio.create_task(bed.podman.containers.wait(container, interval=0.2)) for _ in range(50)]
    state = await asyncio.wait_for(bed.podman.containers.inspect(container), LIMIT)
    assert state is not None
    assert state.running
    await bed.podman.containers.kill(container)
    assert await asyncio.wait_for(asyncio.gather(*waits), LIMIT) == [137] * 50


async def test_out_of_memory_is_told_by_the_cgroup(real: Bed, tmp_path: Path) -> None:
    """With cgroups v1 on a recent kernel Podman does not report it (4.3.1 on 6.18: false); the cgroup does."""
    script = (
        "dd if=/dev/zero of=/dev/shm/full bs=1M count=60; echo code $? > /out/said;"
        "cat /sys/fs/cgroup/memory/memory.oom_control /sys/fs/cgroup/memory.events >> /out/said 2>/dev/null; true"
    )
    container = await real.run(
        "sh",
        "-c",
        script,
        mounts=[{"type": "bind", "source": str(tmp_path), "destination": "/out", "options": ["rw", "rbind"]}],
        resource_limits={"memory": {"limit": 16 << 20, "swap": 16 << 20}},
    )
    assert await asyncio.wait_for(real.podman.containers.wait(container), LIMIT) == 0
    said = dict(line.split() for line in (tmp_path / "said").read_text().splitlines())
    assert said["code"] == "137"
    assert said["oom_kill"] == "1"


async def test_a_wait_breaks_when_podman_is_killed_and_the_truth_survives(
    isolated_podman: IsolatedPodman, real: Bed
) -> None:
    container = await real.run("sleep", "1")
    waiting = asyncio.create_task(real.podman.containers.wait(container))
    assert (await real.podman.info()).version.startswith(("4.", "5."))
    isolated_podman.kill_service()
    try:
        with pytest.raises(PodmanUnavailable):
            await asyncio.wait_for(waiting, LIMIT)
        with pytest.raises(PodmanUnavailable):
            await real.podman.containers.inspect(container)
    finally:
        isolated_podman.start_service()
    assert await asyncio.wait_for(real.podman.containers.wait(container), LIMIT) == 0
    state = await real.podman.containers.inspect(container)
    assert state is not None
    assert state.exit_code == 0


async def test_nobody_listens(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with Podman(tmp_path_factory.mktemp("nobody") / "podman.sock") as podman:
        with pytest.raises(PodmanUnavailable, match="did not answer"):
            await podman.info()
        with pytest.raises(PodmanUnavailable, match="did not answer"):
            await podman.ping(1.0)


async def test_a_podman_that_is_there_answers_a_ping(bed: Bed) -> None:
    await bed.podman.ping(LIMIT)


@pytest.mark.parametrize("status", [503, None])
async def test_what_is_not_an_answer_is_never_absent(fake: FakePodman, status: int | None) -> None:
    fake.fail("GET /containers/.*/json", status, times=2)
    async with Podman(fake.socket) as podman:
        for _ in range(2):
            with pytest.raises(PodmanUnavailable):
                await podman.containers.inspect("anybody")
        assert await podman.containers.inspect("anybody") is None


async def test_a_500_is_never_absent(fake: FakePodman) -> None:
    fake.fail("GET /containers/.*/json")
    async with Podman(fake.socket) as podman:
        with pytest.raises(PodmanError) as caught:
            await podman.containers.inspect("anybody")
    assert not isinstance(caught.value, NotFound)
    assert caught.value.status == 500


async def test_the_host_is_described(bed: Bed) -> None:
    info = await bed.podman.info()
    assert info.rootless is False
    assert info.architecture in ("amd64", "arm64")
    assert info.runtime in ("runc", "crun")
    assert info.volume_path.startswith("/")
    assert info.controllers >= {"memory", "cpu", "pids"}


async def test_what_is_free_where_podman_stores_is_known(bed: Bed) -> None:
    free = await bed.podman.free()
    assert free is not None
    assert 0 < free < 1 << 60


async def test_what_is_free_is_the_disk_s(real: Bed, isolated_podman: IsolatedPodman) -> None:
    disk = await asyncio.to_thread(os.statvfs, isolated_podman.root)
    free = await real.podman.free()
    assert free is not None
    assert abs(free - disk.f_bfree * disk.f_frsize) < 10**9, "other processes write to the disk too"


async def test_stop_ends_at_once(bed: Bed) -> None:
    container = await bed.run("sleep", "60")
    assert await bed.podman.containers.stop(container)
    assert await asyncio.wait_for(bed.podman.containers.wait(container), LIMIT) == 137
    assert not await bed.podman.containers.stop("nobody")


async def test_attached_ends_when_the_container_does(bed: Bed) -> None:
    containers = bed.podman.containers
    container = await containers.create(bed.body("sleep", "0.2"))
    for _ in range(2):  # a session's container is attached to before each start
        async with asyncio.timeout(LIMIT), containers.attached(container) as chunks:
            assert await containers.start(container)
            assert [chunk async for chunk in chunks] == []
        assert await asyncio.wait_for(containers.wait(container), LIMIT) == 0


async def test_nobody_can_be_attached_to_what_is_not_there(bed: Bed) -> None:
    with pytest.raises(NotFound):
        async with bed.podman.containers.attached("nobody"):
            pass


async def test_one_that_was_initialized_and_not_started_is_put_back(bed: Bed) -> None:
    """Attaching initializes a container, and that resolves its bind mounts."""
    containers = bed.podman.containers
    container = await bed.run("true")
    await containers.wait(container)
    async with containers.attached(container):
        state = await containers.inspect(container)
        assert state is not None
        assert (state.status, state.running) == ("initialized", False)
        await containers.stop(container)
    state = await containers.inspect(container)
    assert state is not None
    assert state.status == "exited"
    assert await containers.start(container)
    assert await asyncio.wait_for(containers.wait(container), LIMIT) == 0


async def test_one_that_was_initialized_attached_to_and_never_started_is_put_back(bed: Bed) -> None:
    containers = bed.podman.containers
    container = await containers.create(bed.body("true"))
    await containers.init(container)
    async with containers.attached(container):
        await containers.stop(container)
    state = await containers.inspect(container)
    assert state is not None
    assert (state.status, state.exit_code, state.started_at) == ("exited", None, None)
    assert await containers.start(container)
    assert await asyncio.wait_for(containers.wait(container), LIMIT) == 0


async def test_its_size_is_what_was_written_in_it(real: Bed) -> None:
    container = await real.run("dd", "if=/dev/zero", "of=/written", "bs=1024", "count=300")
    await real.podman.containers.wait(container)
    assert 300 * 1024 <= await real.podman.containers.size(container) < 400 * 1024
    with pytest.raises(NotFound):
        await real.podman.containers.size("nobody")


async def test_one_that_is_paused_is_alive_and_ended_by_a_kill(real: Bed) -> None:
    """Podman reports that it is not running."""
    containers = real.podman.containers
    container = await real.run("sleep", "60")
    await containers._connection.request("POST", f"/containers/{container}/pause")
    state = await containers.inspect(container)
    assert state is not None
    assert (state.status, state.running, state.alive) == ("paused", False, True)
    assert await containers.kill(container)
    assert await asyncio.wait_for(containers.wait(container), LIMIT) == 137
    state = await containers.inspect(container)
    assert state is not None
    assert not state.alive
