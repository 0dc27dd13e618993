"""Networks: isolated bridges, created idempotently, and owned according to their labels."""

from __future__ import annotations

import dataclasses

import pytest

from stromboli.errors import PodmanError
from stromboli.podman import Podman
from tests.contract.conftest import Bed
from tests.support import lookups
from tests.support.podman import IsolatedPodman


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


async def test_the_networks_of_two_podmans_do_not_meet(real: Bed) -> None:
    """Both networks are there before any of them is up, as when all containers on them are stopped."""
    with IsolatedPodman() as other:
        other.import_busybox()
        async with Podman(other.socket) as client:
            beds = (real, dataclasses.replace(real, podman=client))
            networks = [bed.name() for bed in beds]
            for bed, name in zip(beds, networks, strict=True):
                await bed.podman.networks.create(name, bed.mark, dns=True)
            members = [await _pair(bed, name) for bed, name in zip(beds, networks, strict=True)]
            assert len({address for one in members for address in one.values()}) == 4
            for bed, one in zip(beds, members, strict=True):
                db, asking = one
                assert f"PING db ({one[db]})" in await lookups.answered(bed.podman, asking, lookups.PING.format("db"))


async def _pair(bed: Bed, network: str) -> dict[str, str]:
    """The addresses of two containers on a network, by their ids."""
    pair = {}
    for alias in ("db", "agent"):
        on = {"netns": {"nsmode": "bridge"}, "Networks": {network: {"aliases": [alias]}}}
        container = await bed.run("sleep", "60", **on)
        detail = await bed.podman.containers.detail(container)
        assert detail is not None
        pair[container] = detail.addresses[network]
    return pair


async def test_a_container_gets_its_network(real: Bed) -> None:
    name = real.name()
    network = await real.podman.networks.create(name, real.mark)
    assert network.subnets
    container = await real.run("sleep", "60", netns={"nsmode": "bridge"}, Networks={name: {}})
    with pytest.raises(PodmanError):
        await real.podman.networks.remove(name)
    await real.podman.containers.remove(container)
    assert await real.podman.networks.remove(name)
