"""Builds: what comes of them, what they can reach, their limits, and that nothing is left of one that is given up."""

from __future__ import annotations

import asyncio
import io
import tarfile
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from stromboli.errors import BuildFailed, NoSpace, PodmanError, PodmanUnavailable
from stromboli.podman import builds
from stromboli.podman.builds import Recipe
from stromboli.podman.failures import answer
from tests.contract.conftest import Bed
from tests.support.fake_podman import Built

LIMIT = 60.0


def context(dockerfile: str, name: str = "Dockerfile", **files: str) -> bytes:
    """A context with a Dockerfile and these files."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, content in {name: dockerfile, **files}.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content.encode())
            tar.addfile(entry, io.BytesIO(content.encode()))
    return archive.getvalue()


async def image_id(bed: Bed) -> str:
    found = await bed.podman.images.inspect(bed.image)
    assert found is not None
    return found.id


async def built(bed: Bed, *lines: str, limit: float = LIMIT, **recipe: Any) -> tuple[str, list[str]]:
    """Build these lines from the image with busybox. Returns the new image's id and the output."""
    dockerfile = "\n".join([f"FROM {await image_id(bed)}", *lines])
    said: list[str] = []
    asked = Recipe("Dockerfile", bed.mark, **recipe)
    made = await bed.podman.builds.build(context(dockerfile), asked, limit=limit, on_line=said.append)
    return made, said


async def test_an_image_is_built_without_a_name(bed: Bed) -> None:
    if bed.fake is not None:
        bed.fake.built = lambda _: Built(("said by a step",))
    made, said = await built(bed, "RUN echo said by a step", "RUN touch /made")
    found = await bed.podman.images.inspect(made)
    assert found is not None
    assert (found.id, found.repo_tags) == (made, ())
    assert bed.mark.items() <= found.labels.items()
    assert "said by a step" in said
    assert [image.id for image in await bed.podman.copies.images(bed.mark)] == [made], "no image of a step is left"
    container = await bed.podman.containers.create(bed.body("true", image=made))
    state = await bed.podman.containers.inspect(container)
    assert state is not None
    assert state.image_id == made


async def test_a_name_goes_to_the_image_that_was_built_last(bed: Bed) -> None:
    name = "localhost/stromboli-test/built:1"
    first, _ = await built(bed, "LABEL which=1", name=name)
    second, _ = await built(bed, "LABEL which=2", name=name)
    found = await bed.podman.images.inspect(name)
    assert found is not None
    assert (found.id, found.repo_tags) == (second, (name,))
    left = await bed.podman.images.inspect(first)
    assert left is not None
    assert left.repo_tags == ()


async def test_a_file_is_sent_as_it_is_read(bed: Bed) -> None:
    """More than is sent at once."""
    archive = tempfile.TemporaryFile()  # noqa: SIM115 - the client closes it
    archive.write(context(f"FROM {await image_id(bed)}\nCOPY big /big\n", big="x" * 3_000_000))
    archive.seek(0)
    made = await bed.podman.builds.build(archive, Recipe("Dockerfile", bed.mark), limit=LIMIT)
    assert await bed.podman.images.inspect(made) is not None


async def test_arguments_and_a_target_are_obeyed(bed: Bed) -> None:
    dockerfile = "ARG BASE\nFROM $BASE AS one\nLABEL stage=one\nFROM localhost/nowhere:1 AS two\n"
    recipe = Recipe("docker/file", bed.mark, args={"BASE": await image_id(bed)}, target="one")
    made = await bed.podman.builds.build(context(dockerfile, "docker/file"), recipe, limit=LIMIT)
    assert await bed.podman.images.inspect(made) is not None


async def test_a_step_that_fails_says_so_with_its_last_words(bed: Bed) -> None:
    if bed.fake is not None:
        said = ("STEP 2/3: RUN echo before", "before", "--> 0123", "STEP 3/3: RUN …", "words", "more")
        bed.fake.built = lambda _: Built(said, 'building at STEP "RUN …": while running runtime: exit status 7')
    with pytest.raises(BuildFailed, match=r"the image was not built: .*exit status 7") as failed:
        await built(bed, "RUN echo before\nRUN echo words; echo more; exit 7")
    assert str(failed.value).endswith("; its last lines:\nwords\nmore")
    assert failed.value.output.endswith("words\nmore\n")


async def test_an_image_that_is_not_there_is_not_pulled(bed: Bed) -> None:
    recipe = Recipe("Dockerfile", bed.mark)
    with pytest.raises(BuildFailed, match="image not known"):
        await bed.podman.builds.build(context("FROM docker.io/library/nowhere:1\n"), recipe, limit=LIMIT)


async def test_a_dockerfile_that_is_not_in_the_context(bed: Bed) -> None:
    with pytest.raises(BuildFailed, match="no such file"):
        await bed.podman.builds.build(context("", "other"), Recipe("Dockerfile", bed.mark), limit=LIMIT)


@pytest.mark.parametrize("how", ["limit", "cancelled"])
async def test_a_build_that_is_given_up_is_really_ended(bed: Bed, how: str) -> None:
    if bed.fake is not None:
        bed.fake.built = lambda _: Built(seconds=None)
    begun = asyncio.Event()
    dockerfile = f"FROM {await image_id(bed)}\nRUN trap '' TERM; sleep 3601 & sleep 3601\nRUN sleep 3602\n"
    building = asyncio.create_task(
        bed.podman.builds.build(
            context(dockerfile),
            Recipe("Dockerfile", bed.mark),
            limit=3.0 if how == "limit" else LIMIT,
            on_line=lambda _: begun.set(),
        )
    )
    await asyncio.wait_for(begun.wait(), LIMIT)
    if how == "limit":
        with pytest.raises(BuildFailed, match="was not built within 3 s"):
            await building
    else:
        if bed.real:
            await _until(lambda: _is_running("3601"), "its step runs")
        building.cancel()
        with pytest.raises(asyncio.CancelledError):
            await building
    if bed.fake is not None:
        assert bed.fake.builds[0].killed.is_set()
        return
    assert not await _is_running("3601")
    await _until(lambda: _is_clean(bed), "Podman has removed the build's container")
    assert not await _is_running("3602")
    assert await bed.podman.copies.images(bed.mark) == []


async def test_a_flood_ends_a_build(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builds, "_FLOOD", 2**20)
    if bed.fake is not None:
        bed.fake.built = lambda _: Built(("x" * 1000,) * 2000, seconds=None)
    with pytest.raises(BuildFailed, match="wrote more than 1 MiB"):
        await built(bed, "RUN while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done")
    if bed.real:
        await _until(lambda: _is_clean(bed), "Podman has removed the build's container")


async def test_a_build_without_a_network_has_none(real: Bed) -> None:
    _, said = await built(real, "RUN /bin/busybox ip -4 addr")
    addresses = [line.split()[1] for line in said if line.split()[:1] == ["inet"]]
    assert addresses == ["127.0.0.1/8"]


async def test_a_build_is_in_the_network_that_it_is_given(real: Bed) -> None:
    name = real.name()
    network = await real.podman.networks.create(name, real.mark)
    _, said = await built(real, "RUN /bin/busybox ip -4 addr", network=name)
    addresses = [line.split()[1] for line in said if line.split()[:1] == ["inet"]]
    prefix = network.subnets[0].rpartition(".")[0]
    assert len(addresses) == 2
    assert addresses[1].startswith(prefix)


async def test_a_step_s_limits_and_privileges(real: Bed) -> None:
    limits = "/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max"  # of cgroups v1 and v2
    show = f"RUN cat /proc/self/status {limits} 2>&1; env"
    _, said = await built(real, show, memory=96 << 20, cpus=500)
    status = dict(line.split(":\t", 1) for line in said if ":\t" in line)
    assert status["Seccomp"] == "2"
    assert int(status["CapEff"], 16) in (0xA80425FB, 0x800405FB)  # Podman 4's, 5's default
    assert str(96 << 20) in said
    assert "PROXY" not in " ".join(said).upper()


async def test_what_the_file_says_of_health_is_kept(real: Bed) -> None:
    made, _ = await built(real, "HEALTHCHECK --interval=3s CMD true", 'SHELL ["/bin/sh", "-c"]')
    response = await real.podman._connection.request("GET", f"/images/{made}/json")
    assert answer(response.content)["Healthcheck"] == {"Test": ["CMD-SHELL", "true"], "Interval": 3_000_000_000}


@pytest.mark.parametrize(
    "line", ["COPY --from=localhost/nowhere:1 /x /y", "RUN --mount=type=bind,from=localhost/nowhere:1,target=/m true"]
)
async def test_no_image_is_pulled_from_within_a_file(real: Bed, line: str) -> None:
    with pytest.raises(BuildFailed, match="no stage or image found with that name"):
        await built(real, line)


async def test_a_context_cannot_be_left(real: Bed, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("secret")
    with pytest.raises(BuildFailed):
        await built(real, f"COPY ../../../../../..{tmp_path}/outside /x", "RUN cat /x")


@pytest.mark.parametrize("status", [500, None])
async def test_a_podman_that_fails_is_no_failure_of_the_file(faked: Bed, status: int | None) -> None:
    assert faked.fake is not None
    faked.fake.fail("POST /build", status)
    with pytest.raises((PodmanError, PodmanUnavailable)) as caught:
        await built(faked)
    assert not isinstance(caught.value, BuildFailed)


async def test_a_full_disk_is_the_node_s(faked: Bed) -> None:
    assert faked.fake is not None
    error = "committing container: writing blob: write /var/tmp/x: no space left on device"
    faked.fake.built = lambda _: Built(error=error)
    with pytest.raises(NoSpace):
        await built(faked)


async def _until(true: Callable[[], Awaitable[bool]], what: str) -> None:
    limit = time.monotonic() + LIMIT
    while not await true():
        assert time.monotonic() < limit, f"{what}: not after {LIMIT:.0f} s"
        await asyncio.sleep(0.05)


async def _is_running(word: str) -> bool:
    def is_one(folder: Path) -> bool:
        try:
            return folder.name.isdigit() and (folder / "cmdline").read_bytes() == f"sleep\0{word}\0".encode()
        except OSError:  # it has ended
            return False

    return any(map(is_one, Path("/proc").iterdir()))


async def _is_clean(bed: Bed) -> bool:
    params = {"all": "true", "external": "true"}
    response = await bed.podman._connection.request("GET", "/containers/json", params=params)
    return not any("working-container" in each["Names"][0] for each in answer(response.content) or ())
