"""Named volumes: labels show their owner, and creating them is idempotent."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from stromboli.errors import PodmanError
from tests.contract.conftest import Bed

LIMIT = 20.0


async def test_a_volume_is_made_once(bed: Bed) -> None:
    volumes, name = bed.podman.volumes, bed.name()
    made = await volumes.create(name, bed.mark)
    assert (made.name, made.labels) == (name, bed.mark)
    assert made.mountpoint.endswith(f"/{name}/_data")
    assert await volumes.create(name, bed.mark) == made
    assert await volumes.inspect(name) == made


async def test_somebody_else_s_volume_is_not_taken(bed: Bed) -> None:
    volumes, name = bed.podman.volumes, bed.name()
    theirs = await volumes.create(name, bed.mark)
    with pytest.raises(PodmanError, match="not ours"):
        await volumes.create(name, bed.mark | {"owner": "me"})
    assert await volumes.inspect(name) == theirs


async def test_a_volume_is_removed_once(bed: Bed) -> None:
    volumes, name = bed.podman.volumes, bed.name()
    await volumes.create(name, bed.mark)
    assert await volumes.remove(name)
    assert not await volumes.remove(name)
    assert await volumes.inspect(name) is None


async def test_a_volume_in_use_stays(bed: Bed) -> None:
    name = bed.name()
    await bed.podman.volumes.create(name, bed.mark)
    use = {"Name": name, "Dest": "/data", "Options": ["rw"]}
    container = await bed.podman.containers.create(bed.body("true", volumes=[use]))
    with pytest.raises(PodmanError) as caught:
        await bed.podman.volumes.remove(name)
    assert caught.value.status == 409
    assert await bed.podman.containers.remove(container)
    assert await bed.podman.volumes.inspect(name) is not None, "a named volume outlives its container"


async def test_a_list_holds_what_bears_all_labels(bed: Bed) -> None:
    both, one = bed.name(), bed.name()
    await bed.podman.volumes.create(both, bed.mark | {"a": "1"})
    await bed.podman.volumes.create(one, bed.mark)
    assert {v.name for v in await bed.podman.volumes.list(bed.mark)} == {both, one}
    assert [v.name for v in await bed.podman.volumes.list(bed.mark | {"a": "1"})] == [both]


async def test_a_create_body_makes_a_volume_without_labels(bed: Bed) -> None:
    name = bed.name()
    use = {"Name": name, "Dest": "/data", "Options": ["rw"]}
    container = await bed.podman.containers.create(bed.body("true", volumes=[use]))
    volume = await bed.podman.volumes.inspect(name)
    assert volume is not None
    assert volume.labels == {}
    await bed.podman.containers.remove(container)
    await bed.podman.volumes.remove(name)


@pytest.mark.parametrize("labelled", [True, False])
async def test_a_volume_is_given_to_the_user_of_its_first_container(real: Bed, labelled: bool) -> None:
    name = real.name()
    if labelled:
        await real.podman.volumes.create(name, real.mark)
    use = {"Name": name, "Dest": "/data", "Options": ["rw"]}
    container = await real.run("touch", "/data/mine", user="1000:1000", volumes=[use])
    assert await asyncio.wait_for(real.podman.containers.wait(container), LIMIT) == 0
    volume = await real.podman.volumes.inspect(name)
    assert volume is not None
    folder = Path(volume.mountpoint).stat()
    assert (folder.st_uid, folder.st_gid) == (1000, 1000)
    await real.podman.containers.remove(container)
    await real.podman.volumes.remove(name)


@pytest.mark.parametrize("with_volumes", [True, False])
async def test_an_anonymous_volume_goes_with_its_container(bed: Bed, with_volumes: bool) -> None:
    container = await bed.ended("true", volumes=[{"Dest": "/data"}])
    found = await bed.podman.containers.detail(container)
    assert found is not None
    (mount,) = found.mounts
    assert (mount.type, mount.destination, mount.writable) == ("volume", "/data", True)
    await bed.podman.containers.remove(container, volumes=with_volumes)
    left = await bed.podman.volumes.inspect(mount.name)
    assert (left is None) is with_volumes
    await bed.podman.volumes.remove(mount.name)
