"""Bridges of networks keep their addresses, so that whoever is on them goes on reaching the gateway."""

from __future__ import annotations

from pathlib import Path

from stromboli.node import checked_start
from stromboli.podman import networks
from tests.contract.conftest import Bed

INTERFACES = Path("/sys/class/net")
OTHERS = 6


async def test_a_bridge_keeps_its_address_whoever_comes_and_goes(real: Bed) -> None:
    network = real.name()
    bridge = INTERFACES / networks.bridge(network)
    await real.podman.networks.create(network, real.mark)
    on = {"netns": {"nsmode": "bridge"}, "Networks": {network: {}}, "stop_signal": 9}
    members = [await real.podman.containers.create(real.body("sleep", "60", **on)) for _ in range(OTHERS)]
    assert await checked_start.start(real.podman, members[0], {}) is None
    address = (bridge / "address").read_text()
    for member in members[1:]:
        await real.podman.containers.start(member)
        assert (bridge / "address").read_text() == address
    for member in members[:-1]:
        await real.podman.containers.stop(member)
        assert (bridge / "address").read_text() == address


async def test_a_bridge_that_comes_up_again_is_kept_again(real: Bed) -> None:
    network = real.name()
    bridge = INTERFACES / networks.bridge(network)
    await real.podman.networks.create(network, real.mark)
    on = {"netns": {"nsmode": "bridge"}, "Networks": {network: {}}, "stop_signal": 9}
    only = await real.podman.containers.create(real.body("sleep", "60", **on))
    for _ in range(2):
        assert await checked_start.start(real.podman, only, {}) is None
        assert (bridge / "addr_assign_type").read_text() == "3\n"
        await real.podman.containers.stop(only)
        assert not bridge.exists(), "it went with its last container"
