"""Networks: isolated bridges, created idempotently, and owned according to their labels."""

from __future__ import annotations

import pytest

from stromboli.errors import PodmanError
from tests.contract.conftest import Bed


async def test_a_network_is_made_once_and_isolated(bed: Bed) -> None:
    networks, name = bed.podman.networks, bed.name()
    made = await networks.create(name, bed.mark)
    assert (made.name, made.labels, made.isolated) == (name, bed.mark, True)
    assert await networks.create(name, bed.mark) == made
    assert await networks.inspect(name) == made


async def test_a_network_that_differs_is_not_taken(bed: Bed) -> None:
    networks, name = bed.podman.networks, bed.name()
    theirs = await networks.create(name, bed.mark, isolate=False)
    assert not theirs.isolated
    with pytest.raises(PodmanError, match="differs from ours"):
        await networks.create(name, bed.mark)
    with pytest.raises(PodmanError, match="differs from ours"):
        await networks.create(name, bed.mark | {"owner": "me"}, isolate=False)
    assert await networks.inspect(name) == theirs


async def test_a_network_is_removed_once(bed: Bed) -> None:
    networks, name = bed.podman.networks, bed.name()
    await networks.create(name, bed.mark)
    assert await networks.remove(name)
    assert not await networks.remove(name)
    assert await networks.inspect(name) is None


async def test_a_list_holds_what_bears_all_labels(bed: Bed) -> None:
    both, one = bed.name(), bed.name()
    await bed.podman.networks.create(both, bed.mark | {"a": "1"})
    await bed.podman.networks.create(one, bed.mark)
    assert {n.name for n in await bed.podman.networks.list(bed.mark)} == {both, one}
    assert [n.name for n in await bed.podman.networks.list(bed.mark | {"a": "1"})] == [both]


async def test_a_container_gets_its_network(real: Bed) -> None:
    name = real.name()
    network = await real.podman.networks.create(name, real.mark)
    assert network.subnets
    container = await real.run("sleep", "60", netns={"nsmode": "bridge"}, Networks={name: {}})
    with pytest.raises(PodmanError):
        await real.podman.networks.remove(name)
    await real.podman.containers.remove(container)
    assert await real.podman.networks.remove(name)
