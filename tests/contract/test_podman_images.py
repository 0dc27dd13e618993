"""Images: inspected on both Podmans; pulled from a registry on loopback by the real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stromboli.errors import ImageMissing, PullFailed, Pulling
from stromboli.grammar.reference import Reference, parse
from stromboli.models.agentpolicy import PullPolicy
from stromboli.node.access import Access
from stromboli.node.images import Images
from stromboli.podman import Podman
from stromboli.podman.images import ImageInfo
from tests.contract.conftest import FILES_IMAGE, Bed
from tests.support.fake_podman import FakePodman
from tests.support.fake_registry import FakeRegistry
from tests.support.podman import IsolatedPodman

LIMIT = 30.0


@pytest.fixture
async def registry(registry_address: str) -> AsyncIterator[FakeRegistry]:
    async with FakeRegistry(registry_address) as served:
        yield served


async def test_an_image_by_name_and_by_id(bed: Bed) -> None:
    image = await bed.podman.images.inspect(FILES_IMAGE)
    assert image is not None
    assert len(image.id) == 64
    assert image.digest.startswith("sha256:")
    assert image.repo_digests == (f"{FILES_IMAGE.removesuffix(':1')}@{image.digest}",)
    assert image.repo_tags == (FILES_IMAGE,)
    assert (image.user, image.env, image.workdir) == ("1000:1000", ("A=b",), "/lib")
    assert (image.entrypoint, image.cmd) == (("/bin/busybox", "sh"), ())
    assert image.architecture in ("amd64", "arm64")
    assert image.os == "linux"
    assert image.size > 0
    assert image.created is not None
    assert await bed.podman.images.inspect(image.id) == image
    assert await bed.podman.images.inspect(image.repo_digests[0]) == image


async def test_all_images(bed: Bed) -> None:
    image = await bed.podman.images.inspect(FILES_IMAGE)
    assert image is not None
    listed = {found.id: found for found in await bed.podman.images.list()}
    found = listed[image.id]
    assert (found.repo_tags, found.repo_digests, found.digest) == (image.repo_tags, image.repo_digests, image.digest)
    assert (found.size, dict(found.labels)) == (image.size, dict(image.labels))
    assert image.created is not None
    assert found.created == image.created.replace(microsecond=0)
    assert all(each.repo_tags or each.repo_digests for each in listed.values())


async def test_an_image_without_configuration(bed: Bed) -> None:
    image = await bed.podman.images.inspect(bed.image)
    assert image is not None
    assert (image.user, image.env, image.entrypoint, image.workdir) == ("", (), (), "")


async def test_an_image_that_is_not_there(bed: Bed) -> None:
    assert await bed.podman.images.inspect("localhost/nowhere:1") is None
    assert await bed.podman.images.inspect("0" * 64) is None


@pytest.mark.parametrize("by_digest", [False, True])
async def test_a_pull_brings_the_image_and_tells_of_bytes(real: Bed, registry: FakeRegistry, by_digest: bool) -> None:
    name = f"team/tool-{by_digest}".lower()
    digest = registry.publish(name, "1", size=3 << 20)
    registry.drip(2.0)  # Podman reports progress once a second
    reference = f"{registry.address}/{name}" + (f"@{digest}" if by_digest else ":1")
    told: list[str] = []
    image = await asyncio.wait_for(real.podman.images.pull(reference, lambda now: told.append(str(now))), LIMIT)
    assert f"{registry.address}/{name}@{digest}" in image.repo_digests
    assert await real.podman.images.inspect(reference) == image
    told = [words for words in told if words]
    assert len(told) > 1
    assert told[-1].startswith("3.0 of 3.0 MiB, ")
    assert all(" of 3.0 MiB, " in words for words in told)


async def test_a_pull_asks_again_though_the_image_is_there(real: Bed, registry: FakeRegistry) -> None:
    reference = f"{registry.address}/team/moving:1"
    registry.publish("team/moving", "1", size=1000)
    before = await asyncio.wait_for(real.podman.images.pull(reference), LIMIT)
    registry.publish("team/moving", "1", size=2000)
    after = await asyncio.wait_for(real.podman.images.pull(reference), LIMIT)
    assert before.id != after.id


@pytest.mark.parametrize(
    ("status", "code", "permanent"),
    [
        (404, "MANIFEST_UNKNOWN", True),
        (404, "NAME_UNKNOWN", True),
        (401, "UNAUTHORIZED", True),
        (403, "DENIED", True),
        (429, "TOOMANYREQUESTS", False),
        (500, "UNKNOWN", False),
        (503, "UNAVAILABLE", False),
    ],
)
async def test_what_the_registry_says_decides(
    real: Bed, registry: FakeRegistry, status: int, code: str, permanent: bool
) -> None:
    registry.refuse(status, code, {"Retry-After": "1"})  # after which Podman asks again, five times
    with pytest.raises(PullFailed, match="could not be pulled") as caught:
        await asyncio.wait_for(real.podman.images.pull(f"{registry.address}/team/none:1"), LIMIT)
    assert caught.value.permanent is permanent, str(caught.value)


async def test_a_registry_that_lacks_the_name_or_the_tag(real: Bed, registry: FakeRegistry) -> None:
    registry.publish("team/tool", "1", size=10)
    for name in ("team/tool:2", "team/none:1", f"team/tool@sha256:{'0' * 64}"):
        with pytest.raises(PullFailed) as caught:
            await asyncio.wait_for(real.podman.images.pull(f"{registry.address}/{name}"), LIMIT)
        assert caught.value.permanent, str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1:1", "nobody.invalid"])
async def test_a_registry_that_cannot_be_reached(real: Bed, host: str) -> None:
    with pytest.raises(PullFailed) as caught:
        await asyncio.wait_for(real.podman.images.pull(f"{host}/team/tool:1"), LIMIT)
    assert not caught.value.permanent, str(caught.value)


async def test_a_registry_that_breaks_off(real: Bed, registry: FakeRegistry) -> None:
    registry.publish("team/torn", "1", size=3 << 20)
    registry.tear()
    with pytest.raises(PullFailed) as caught:
        await asyncio.wait_for(real.podman.images.pull(f"{registry.address}/team/torn:1"), LIMIT)
    assert not caught.value.permanent, str(caught.value)


async def test_cancelling_ends_the_pull(real: Bed, registry: FakeRegistry) -> None:
    registry.publish("team/slow", "1", size=3 << 20)
    registry.stall()
    pull = asyncio.create_task(real.podman.images.pull(f"{registry.address}/team/slow:1"))
    await asyncio.wait_for(registry.stalled.wait(), LIMIT)
    pull.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pull
    await asyncio.wait_for(registry.left.wait(), LIMIT)
    assert await real.podman.images.inspect(f"{registry.address}/team/slow:1") is None


@pytest.fixture
async def images(bed: Bed, tmp_path: Path) -> AsyncIterator[Images]:
    made = Images(bed.podman, tmp_path, Access(tmp_path), "installation", lambda _: None)
    yield made
    await made.close()


async def test_podman_takes_a_digest_for_enough_and_we_do_not(bed: Bed, images: Images) -> None:
    here = await bed.podman.images.inspect(FILES_IMAGE)
    assert here is not None
    foreign = parse(f"python@{here.digest}")
    found = await bed.podman.images.inspect(str(foreign))
    assert found is not None, "if Podman starts to distinguish repositories, this rule can go"
    assert found.id == here.id
    assert await images.on_node(foreign) is None
    with pytest.raises(ImageMissing, match="is not on the node"):
        await images.resolve(foreign, PullPolicy.Never, "run")
    own = parse(f"{FILES_IMAGE}@{here.digest}")
    assert await images.resolve(own, PullPolicy.IfNotPresent, "run") == here


async def test_the_same_image_of_two_repositories_is_asked_for_in_each(
    real: Bed, registry: FakeRegistry, tmp_path: Path
) -> None:
    """Even if Podman already has all of it: only the registry knows whether the repository has it."""
    digest = registry.publish("secret/tool", "1", size=10)
    here = await asyncio.wait_for(real.podman.images.pull(f"{registry.address}/secret/tool:1"), LIMIT)
    allowed = parse(f"{registry.address}/allowed/tool@{digest}")
    with pytest.raises(PullFailed) as caught:
        await resolved(real, allowed, tmp_path)
    assert caught.value.permanent, str(caught.value)
    registry.publish_again(digest, "allowed/tool", "1")
    found = await resolved(real, allowed, tmp_path)
    assert found.id == here.id
    assert {f"{registry.address}/{name}@{digest}" for name in ("secret/tool", "allowed/tool")} <= {*found.repo_digests}


async def resolved(real: Bed, reference: Reference, folder: Path) -> ImageInfo:
    """The result of pulling a reference that is not on the host."""
    ended = asyncio.Event()
    images = Images(real.podman, folder, Access(folder), "installation", lambda _: ended.set())
    with pytest.raises(Pulling):
        await images.resolve(reference, PullPolicy.IfNotPresent, "run")
    await asyncio.wait_for(ended.wait(), LIMIT)
    return await images.resolve(reference, PullPolicy.IfNotPresent, "run")


async def test_what_was_named_loaded_or_renamed_is_known_by_its_names(
    real: Bed, isolated_podman: IsolatedPodman, tmp_path: Path
) -> None:
    names = ("quay.io/contract/named:1", "localhost/contract/named:2")
    saved = tmp_path / "image.tar"
    images = Images(real.podman, tmp_path, Access(tmp_path), "installation", lambda _: None)
    isolated_podman.run("tag", FILES_IMAGE, *names)
    isolated_podman.run("save", "--quiet", "--output", str(saved), names[0])
    for name in names:
        assert await images.on_node(parse(name)) is not None
    isolated_podman.run("untag", FILES_IMAGE, *names)
    for name in names:
        assert await images.on_node(parse(name)) is None
    isolated_podman.run("load", "--quiet", "--input", str(saved))
    found = await images.on_node(parse(names[0]))
    assert found is not None
    for digest in found.repo_digests:
        assert await images.on_node(parse(digest)) == found
    isolated_podman.run("untag", names[0], names[0])  # without a name given, all names of the image are removed


async def test_a_sessions_copy_is_not_to_be_had_by_another_name(
    real: Bed, isolated_podman: IsolatedPodman, tmp_path: Path
) -> None:
    alias, copy = "localhost/contract/alias:1", "localhost/stromboli/session:contract"
    images = Images(real.podman, tmp_path, Access(tmp_path), "installation", lambda _: None)
    made = await real.run("sleep", "60")
    await real.podman.copies.commit(made, copy)
    isolated_podman.run("tag", copy, alias)
    found = await real.podman.images.inspect(alias)
    assert found is not None
    for name in (alias, copy, f"localhost/contract/alias@{found.digest}", f"python@{found.digest}"):
        assert await images.on_node(parse(name)) is None, name
    isolated_podman.run("untag", copy, copy)
    assert await images.on_node(parse(alias)) is not None
    isolated_podman.run("rmi", alias)


async def test_the_fake_pulls_what_a_test_put_into_its_registry(fake: FakePodman) -> None:
    image = fake.image("registry.test/a:1", root=fake.images[0].root)
    fake.registry = {"registry.test/a:1": image, "registry.test/b:1": "dial tcp: i/o timeout"}
    told: list[str] = []
    async with Podman(fake.socket) as podman:
        pulled = await podman.images.pull("registry.test/a:1", lambda now: told.append(str(now)))
        assert pulled.id == image.id
        for reference, permanent in (("registry.test/b:1", False), ("registry.test/c:1", True)):
            with pytest.raises(PullFailed) as caught:
                await podman.images.pull(reference)
            assert caught.value.permanent is permanent
    assert told == [
        "1.0 of 2.0 MiB, 0 of 1 layers",
        "2.0 of 2.0 MiB, 0 of 1 layers",
        "2.0 of 2.0 MiB, 1 of 1 layers",
    ]
