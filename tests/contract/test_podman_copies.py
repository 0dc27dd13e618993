"""Copies for forks: what is in a copy of a container's files, and of a volume.

On the real Podman only, since a fake that modelled files, owners and links would itself need tests. What else there is
about copies is in test_copies.py, on both.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stromboli import naming
from stromboli.attempt import busybox
from stromboli.attempt.site import Site
from stromboli.errors import NoSpace, NotFound, PodmanError
from stromboli.local import machine
from stromboli.naming import ContainerKey
from stromboli.node import copy
from stromboli.node.copy import Copier
from stromboli.podman import Podman
from tests.contract.conftest import Bed
from tests.contract.forks import (
    CONVERSATION,
    CREDENTIALS,
    FEW,
    GENERATIONS,
    HOLES,
    LIMIT,
    LISTING,
    SECRET,
    TIMES,
    Forks,
)
from tests.support.ordinary_user import ordinary_user
from tests.support.podman import IsolatedPodman


@pytest.fixture
async def forks(real: Bed, tmp_path: Path) -> AsyncIterator[Forks]:
    site = Site(tmp_path / "home", tmp_path / "run", str(uuid.uuid4()))
    busybox.install(site.home)
    made = Forks(real, Copier(real.podman, site), site)
    yield made
    await made.clear()


@pytest.fixture
async def source(forks: Forks) -> str:
    """A volume with a conversation in it."""
    name = forks.bed.name()
    await forks.podman.volumes.create(name, forks.bed.mark)
    await forks.in_volume(name, CONVERSATION)
    return name


# --- the filesystem ---


async def test_what_a_container_wrote_is_in_its_copy(forks: Forks) -> None:
    container = await forks.written(
        "busybox mkdir -p /usr/made/empty; echo kept > /usr/made/file; busybox rm /lib/empty /relative;"
        "busybox chown 1000:1001 /usr/made/file; busybox chmod 0640 /usr/made/file; busybox ln -s file /usr/made/link;"
        "busybox chmod 1777 /etc"
    )
    uid = forks.uid()
    image = await forks.copier.filesystem(container, naming.copy(uid), forks.labels(uid))
    script = LISTING.format("/usr/made") + "cd /; busybox ls -1d /lib/* /etc; busybox stat -c %a /etc"
    listed = await forks.said(image, script)
    assert listed.splitlines() == [
        "'./link' -> 'file' symbolic link 0:0 777 1 ",
        ". directory 0:0 755 3 ",
        "./empty directory 0:0 755 2 ",
        "./file regular file 1000:1001 640 1 5 649c727626d5a242b871347db6558c50  -",
        "/etc",
        "/lib/big",
        "/lib/real",
        "1777",
    ]
    assert await forks.podman.containers.start(container), "the container that was copied can go on"
    async with asyncio.timeout(LIMIT):
        await forks.podman.containers.wait(container)


async def test_nothing_that_is_mounted_gets_into_a_copy(forks: Forks, tmp_path: Path) -> None:
    for name in ("plan", "secret", "cli"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(SECRET)
    places = {"plan": naming.PLAN, "secret": naming.HANDED, "cli": naming.CLI_MOUNT}
    binds = [
        {"type": "bind", "source": str(tmp_path / name), "destination": place, "options": ["rw", "rbind"]}
        for name, place in places.items()
    ]
    name = forks.bed.name()
    volume = {"Name": name, "Dest": naming.SESSION, "Options": ["rw"]}
    await forks.podman.volumes.create(name, forks.bed.mark)
    seen = f"busybox grep -c {SECRET} {naming.PLAN}/file; echo {SECRET} > {naming.SESSION}/mine"
    container = await forks.written(seen, mounts=binds, volumes=[volume])
    uid = forks.uid()
    image = await forks.copier.filesystem(container, naming.copy(uid), forks.labels(uid))
    assert await forks.said(image, f"busybox find {naming.CLI_MOUNT} {naming.RUNTIME} ! -type d") == ""
    assert await forks.said(image, f"busybox find {naming.RUNTIME} -mindepth 1 | busybox wc -l") == "3\n"
    assert SECRET not in await forks.said(image, f"busybox grep -rl {SECRET} /run /opt /usr /etc /lib || true; env")
    inspected = await forks.podman.images.inspect(image)
    assert SECRET not in str(inspected)


async def test_forks_of_forks_do_not_pile_up_layers(forks: Forks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy, "MAX_LAYERS", FEW)
    image, before, counts, env = forks.bed.files, None, [], None
    for n in range(GENERATIONS):
        script = f"echo {n} > /usr.{n}; busybox chown {n}:1 /usr.{n}; busybox rm -f /usr.{n - 3}"
        container, _ = await forks.ended(image, script)
        uid = forks.uid()
        image = await forks.copier.filesystem(container, naming.copy(uid), forks.labels(uid))
        await forks.podman.containers.remove(container)
        if before is not None:
            await forks.copier.drop(naming.copy(before))
        before = uid
        counts.append(await forks.podman.copies.layers(image))
        found = await forks.podman.images.inspect(image)
        assert found is not None
        assert (found.entrypoint, found.user, found.workdir) == (("/bin/busybox", "sh"), "1000:1000", "/lib")
        env = env or set(found.env)
        assert set(found.env) == env
    assert (min(counts), max(counts)) == (1, FEW)
    kept = await forks.said(
        image, "cd /; busybox stat -c '%n %u:%g' usr.?? usr.?; busybox cat usr.?? usr.?; busybox cat /lib/real"
    )
    assert kept.splitlines() == ["usr.10 10:1", "usr.11 11:1", "usr.9 9:1", "10", "11", "9", "hello"]
    assert [left.names for left in await forks.images()] == [(naming.copy(str(before)),)]


@pytest.mark.parametrize("flat", [False, True])
async def test_a_copy_s_size_is_known_before_with_its_holes(
    forks: Forks, monkeypatch: pytest.MonkeyPatch, flat: bool
) -> None:
    container = await forks.written("busybox truncate -s 300M /usr.holes; busybox ln /usr.holes /usr.twice")
    base = await forks.podman.images.inspect(forks.bed.files)
    assert base is not None
    if flat:
        monkeypatch.setattr(copy, "MAX_LAYERS", 1)
    size, holes = await forks.copier.size(container), 300 * 2**20
    written = (size - base.size) / 2 if flat else size
    assert holes <= written < holes + 100_000
    with pytest.raises(NotFound):
        await forks.copier.size("nobody")


@pytest.mark.parametrize("most", [1, copy.MAX_LAYERS])
async def test_copying_again_leaves_one_image(forks: Forks, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(copy, "MAX_LAYERS", most)
    uid = forks.uid()
    for content in ("first", "second"):
        container = await forks.written(f"echo {content} > /usr.file")
        made = await forks.copier.filesystem(container, naming.copy(uid), forks.labels(uid))
    assert [(left.id, left.names) for left in await forks.images()] == [(made, (naming.copy(uid),))]
    assert await forks.said(made, "busybox cat /usr.file") == "second\n"


async def test_flattening_that_was_cut_short_is_done_again(forks: Forks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy, "MAX_LAYERS", 1)
    container = await forks.written("busybox head -c 60000000 /dev/urandom > /usr.big; echo kept > /usr.file")
    uid = forks.uid()
    first = asyncio.create_task(forks.copier.filesystem(container, naming.copy(uid), forks.labels(uid)))
    async with asyncio.timeout(LIMIT):
        while not await forks.images():  # the image that is about to be flattened
            assert not first.done()
            await asyncio.sleep(0.01)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    made = await forks.copier.filesystem(container, naming.copy(uid), forks.labels(uid))
    assert await forks.podman.copies.layers(made) == 1
    assert await forks.said(made, "busybox cat /usr.file; busybox stat -c %s /usr.big") == "kept\n60000000\n"
    await forks.copier.drop(naming.copy(uid))
    assert await forks.images() == []


# --- removing ---


async def test_a_copy_outlives_the_one_that_it_was_copied_from(forks: Forks) -> None:
    parent, child = forks.uid(), forks.uid()
    first = await forks.copier.filesystem(
        await forks.written("echo old > /usr.a"), naming.copy(parent), forks.labels(parent)
    )
    container, _ = await forks.ended(first, "echo new > /usr.b")
    second = await forks.copier.filesystem(container, naming.copy(child), forks.labels(child))
    await forks.podman.containers.remove(container)
    await forks.copier.drop(naming.copy(parent))
    assert await forks.said(second, "busybox cat /usr.a /usr.b") == "old\nnew\n"
    assert [left.id for left in await forks.images()] == [second]


# --- the volume ---


def copier(uid: str) -> ContainerKey:
    """The helper container that copies a fork's volume."""
    return ContainerKey(uid, naming.COPIER)


@pytest.mark.parametrize("credentials", CREDENTIALS)
async def test_a_volume_s_copy_has_all_but_the_credentials(forks: Forks, source: str, credentials: str) -> None:
    before = await forks.listing(source)
    await forks.in_volume(source, CREDENTIALS[credentials])
    there = await forks.listing(source)
    uid = forks.uid()
    await forks.copier.volume(source, naming.volume(uid), forks.bed.files, forks.labels(uid))
    assert await forks.listing(naming.volume(uid)) == before
    assert await forks.listing(source) == there, "the original is as it was"
    made = await forks.podman.volumes.inspect(naming.volume(uid))
    assert made is not None
    assert made.labels == forks.labels(uid)
    assert await forks.podman.containers.inspect(copier(uid).name) is None


async def test_a_copy_has_its_original_s_holes(forks: Forks) -> None:
    """Otherwise an agent could fill the node's disk by having sparse files copied."""
    source, uid = forks.bed.name(), forks.uid()
    await forks.podman.volumes.create(source, forks.bed.mark)
    await forks.in_volume(source, HOLES)
    await forks.copier.volume(source, naming.volume(uid), forks.bed.files, forks.labels(uid))
    assert await forks.listing(naming.volume(uid)) == await forks.listing(source)
    assert await forks.in_volume(naming.volume(uid), TIMES) == await forks.in_volume(source, TIMES)
    there, copied = [
        int((await forks.in_volume(volume, "busybox du -sk /v")).split()[0]) for volume in (source, naming.volume(uid))
    ]
    assert there < 10_000
    assert copied <= 3 * there


async def test_a_copy_s_owner_stays_when_another_user_mounts_it(forks: Forks, source: str) -> None:
    uid = forks.uid()
    await forks.copier.volume(source, naming.volume(uid), forks.bed.files, forks.labels(uid))
    before = await forks.listing(naming.volume(uid))
    use = {"Name": naming.volume(uid), "Dest": naming.SESSION, "Options": ["rw"]}
    container = await forks.bed.run("true", user="4242:4242", volumes=[use])
    async with asyncio.timeout(LIMIT):
        assert await forks.podman.containers.wait(container) == 0
    assert await forks.listing(naming.volume(uid)) == before


async def test_copying_again_after_a_cut_ends_in_the_same(forks: Forks, source: str) -> None:
    before = await forks.listing(source)
    uid = forks.uid()
    target = (await forks.podman.volumes.create(naming.volume(uid), forks.labels(uid))).name
    # The leftovers of an interrupted copy, and of a helper container that was never awaited.
    await forks.in_volume(target, "busybox mkdir -p /v/claude/.credentials.json/x /v/.old; echo > '/v/claude/big'")
    use = [{"Name": target, "Dest": "/v", "Options": ["rw"]}]
    helper = {"name": copier(uid).name, "labels": {**forks.labels(uid), naming.ROLE: naming.COPIER}, "volumes": use}
    await forks.bed.run("sleep", "600", **helper)
    for _ in range(2):
        await forks.copier.volume(source, target, forks.bed.files, forks.labels(uid))
        assert await forks.listing(target) == before
    assert await forks.podman.containers.inspect(copier(uid).name) is None


async def test_somebody_else_s_volume_is_not_written_to(forks: Forks, source: str) -> None:
    uid = forks.uid()
    await forks.podman.volumes.create(naming.volume(uid), forks.bed.mark)
    with pytest.raises(PodmanError, match="not ours"):
        await forks.copier.volume(source, naming.volume(uid), forks.bed.files, forks.labels(uid))
    assert len(await forks.listing(naming.volume(uid))) == 1


async def test_a_full_disk_is_told(forks: Forks, source: str, isolated_podman: IsolatedPodman) -> None:
    uid = forks.uid()
    labels = [part for name, value in forks.labels(uid).items() for part in ("--label", f"{name}={value}")]
    options = ("type=tmpfs", "device=tmpfs", "o=nr_blocks=1024")  # `size` would set a quota
    small = [part for option in options for part in ("--opt", option)]
    await asyncio.to_thread(isolated_podman.run, "volume", "create", *small, *labels, naming.volume(uid))
    with pytest.raises(NoSpace, match=f"{naming.volume(uid)}.*No space left on device"):
        await forks.copier.volume(source, naming.volume(uid), forks.bed.files, forks.labels(uid))
    assert await forks.podman.containers.inspect(copier(uid).name) is None


# --- rootless ---


@pytest.fixture
async def rootless() -> AsyncIterator[Forks]:
    """The same with an unprivileged user's Podman."""
    with ordinary_user() as user, IsolatedPodman(user=user) as isolated:
        site = Site(user.folder / "home", user.runtime / "run", str(uuid.uuid4()))
        busybox.install(site.home)
        user.owns(user.folder)
        image = isolated.import_busybox()
        async with Podman(isolated.socket) as podman:
            bed = Bed(podman, image, image, {"contract": uuid.uuid4().hex}, real=True)
            yield Forks(bed, Copier(podman, site), site)


async def test_rootless_owners_are_kept(rootless: Forks, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container of an image with a non-root user has a different mapping: that user is mapped to Podman's user."""
    info = await rootless.podman.info()
    assert bool(info.controllers) == (machine.cgroups() == "v2")
    ids, _ = info.ids
    rows = [(0, 1, 1000), (1000, 0, 1), (1001, 1001, ids - 1001)]
    mapping = [{"container_id": inside, "host_id": outside, "size": size} for inside, outside, size in rows]
    own = {"userns": {"nsmode": "private"}, "idmappings": {"UIDMap": mapping, "GIDMap": mapping}}
    name = rootless.bed.name()
    volume = {"Name": name, "Dest": "/v", "Options": ["rw"]}
    await rootless.podman.volumes.create(name, rootless.bed.mark)
    wrote = f"{CONVERSATION}\nbusybox mkdir /made; cd /made; echo 1 > own; echo 2 > roots; busybox chown 1000:1000 own"
    container, _ = await rootless.ended(rootless.bed.image, wrote, volumes=[volume], **own)
    there = await rootless.said(rootless.bed.image, LISTING.format("/v"), volumes=[volume], **own)
    uid = rootless.uid()
    await rootless.copier.volume(name, naming.volume(uid), rootless.bed.image, rootless.labels(uid))
    copied = volume | {"Name": naming.volume(uid)}
    assert await rootless.said(rootless.bed.image, LISTING.format("/v"), volumes=[copied], **own) == there
    for most in (copy.MAX_LAYERS, 1):
        monkeypatch.setattr(copy, "MAX_LAYERS", most)
        made = await rootless.copier.filesystem(container, naming.copy(uid), rootless.labels(uid))
        said = await rootless.said(made, "cd /made; busybox stat -c '%n %u:%g' *; busybox stat -c %u /bin", **own)
        assert said.splitlines() == ["own 1000:1000", "roots 0:0", "0"]
