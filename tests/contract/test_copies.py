"""Copies for forks, as Podman keeps them: names, labels, layers and removals. On the fake and on the real Podman."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from stromboli import naming
from stromboli.attempt import busybox
from stromboli.attempt.site import Site
from stromboli.errors import NotFound, PodmanError
from stromboli.naming import ContainerKey
from stromboli.node import copy
from stromboli.node.copy import Copier
from tests.contract.conftest import Bed
from tests.contract.forks import Copying

TOUCH = ("/bin/busybox", "touch", "/usr.file")


class Forks(Copying):
    """Copies of containers in which one file was written."""

    async def written(self, image: str = "", **fields: object) -> str:
        """A stopped container of that image, or of the one with a configuration, in which a file was written."""
        return await self.bed.ended(*TOUCH, image=image or self.bed.files, entrypoint=[], user="0:0", **fields)


@pytest.fixture
def forks(bed: Bed, tmp_path: Path) -> Forks:
    site = Site(tmp_path / "home", tmp_path / "run", str(uuid.uuid4()))
    busybox.install(site.home)
    return Forks(bed, Copier(bed.podman, site), site)


async def test_a_copy_has_its_image_s_configuration_and_our_labels(forks: Forks) -> None:
    container = await forks.written(labels={**forks.bed.mark, naming.OWNER: "of the parent", "shape": "old"})
    uid = forks.uid()
    made = await forks.copier.filesystem(container, naming.copy(uid), forks.labels(uid))
    base, copied = [await forks.podman.images.inspect(image) for image in (forks.bed.files, naming.copy(uid))]
    assert base is not None
    assert copied is not None
    assert copied.id == made
    assert (copied.entrypoint, copied.cmd, copied.user) == (base.entrypoint, base.cmd, base.user)
    assert (copied.workdir, copied.architecture) == (base.workdir, base.architecture)
    assert set(copied.env) - set(base.env) <= {
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "TERM=xterm",
        "container=podman",
    }
    found = await forks.podman.copies.inspect(naming.copy(uid))
    assert found is not None
    assert found.labels.items() >= forks.labels(uid).items()


async def test_a_container_that_is_not_there_cannot_be_copied(forks: Forks) -> None:
    uid = forks.uid()
    with pytest.raises(NotFound, match="cannot be copied"):
        await forks.copier.filesystem("nobody", naming.copy(uid), forks.labels(uid))


async def test_a_build_that_fails_says_why(forks: Forks) -> None:
    with pytest.raises(PodmanError, match="Podman refused POST /build"):
        await forks.podman.copies.flatten("0" * 64, "localhost/stromboli/session:never")
    assert await forks.podman.copies.inspect("localhost/stromboli/session:never") is None


async def test_an_image_is_dropped_once(forks: Forks) -> None:
    uid = forks.uid()
    container = await forks.written()
    await forks.copier.filesystem(container, naming.copy(uid), forks.labels(uid))
    ours = [f"LABEL {name}={value}" for name, value in forks.labels(uid).items()]
    stacked = await forks.podman.copies.commit(container, f"{naming.copy(uid)}-stacked", ours)  # by a killed process
    assert stacked in [left.id for left in await forks.images()]
    for _ in range(2):
        await forks.copier.drop(naming.copy(uid))
        assert await forks.images() == []
    assert await forks.podman.images.inspect(forks.bed.files) is not None


async def test_an_image_that_a_container_uses_stays(forks: Forks) -> None:
    uid = forks.uid()
    made = await forks.copier.filesystem(await forks.written(), naming.copy(uid), forks.labels(uid))
    container = await forks.written(made)
    with pytest.raises(PodmanError, match="in use") as caught:
        await forks.copier.drop(naming.copy(uid))
    assert caught.value.status == 409
    assert [left.id for left in await forks.images()] == [made]
    await forks.podman.containers.remove(container)
    await forks.copier.drop(naming.copy(uid))
    assert await forks.images() == []


async def test_somebody_else_s_image_is_not_dropped(forks: Forks) -> None:
    uid = forks.uid()
    container = await forks.written()
    made = await forks.podman.copies.commit(container, naming.copy(uid), ["LABEL mine=1"])
    await forks.copier.drop(naming.copy(uid))
    assert [left.id for left in await forks.images()] == [made]


async def test_a_list_holds_what_bears_all_labels(forks: Forks) -> None:
    container = await forks.written()
    both = await forks.podman.copies.commit(container, "localhost/stromboli/session:both", ["LABEL a=1"])
    one = await forks.podman.copies.commit(container, "localhost/stromboli/session:one")
    assert {left.id for left in await forks.images()} == {both, one}
    assert [left.id for left in await forks.podman.copies.images(forks.bed.mark | {"a": "1"})] == [both]


async def test_copying_again_leaves_one_image_of_that_name(forks: Forks) -> None:
    uid = forks.uid()
    for _ in range(2):
        made = await forks.copier.filesystem(await forks.written(), naming.copy(uid), forks.labels(uid))
    assert [(left.id, left.names) for left in await forks.images()] == [(made, (naming.copy(uid),))]


async def test_a_name_goes_to_the_newest_image(forks: Forks) -> None:
    container, name = await forks.written(), naming.copy(forks.uid())
    made = [await forks.podman.copies.commit(container, name, [f"LABEL n={n}"]) for n in range(2)]
    assert {left.id: left.names for left in await forks.images()} == {made[0]: (), made[1]: (name,)}


async def test_copies_of_copies_are_flattened_once_they_have_many_layers(
    forks: Forks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy, "MAX_LAYERS", 3)
    image, counts = forks.bed.files, [await forks.podman.copies.layers(forks.bed.files)]
    for _ in range(4):
        uid = forks.uid()
        image = await forks.copier.filesystem(await forks.written(image), naming.copy(uid), forks.labels(uid))
        counts.append(await forks.podman.copies.layers(image))
        found = await forks.podman.images.inspect(image)
        assert found is not None
        assert (found.entrypoint, found.user, found.workdir) == (("/bin/busybox", "sh"), "1000:1000", "/lib")
        kept = await forks.podman.copies.inspect(naming.copy(uid))
        assert kept is not None
        assert kept.labels.items() >= forks.labels(uid).items()
    assert counts == [1, 2, 3, 1, 2]


async def test_the_copy_of_a_volume_has_its_owners_labels_and_leaves_no_helper(forks: Forks) -> None:
    source, uid = forks.bed.name(), forks.uid()
    await forks.podman.volumes.create(source, forks.bed.mark)
    for _ in range(2):
        await forks.copier.volume(source, naming.volume(uid), forks.bed.files, forks.labels(uid))
    made = await forks.podman.volumes.inspect(naming.volume(uid))
    assert made is not None
    assert made.labels == forks.labels(uid)
    assert await forks.podman.containers.inspect(ContainerKey(uid, naming.COPIER).name) is None


async def test_a_volume_that_is_not_there_cannot_be_copied(forks: Forks) -> None:
    uid, away = forks.uid(), forks.bed.name()
    with pytest.raises(NotFound, match="cannot be copied"):
        await forks.copier.volume(away, naming.volume(uid), forks.bed.files, forks.labels(uid))
    assert [await forks.podman.volumes.inspect(name) for name in (away, naming.volume(uid))] == [None, None]
