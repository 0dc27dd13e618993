"""Networks of service stacks: who finds whom by which name, who reaches what, and shared network namespaces."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

from stromboli.errors import NotFound, PodmanError
from tests.contract.conftest import Bed
from tests.support import lookups
from tests.support.podman import BUSYBOX

LIMIT = 30.0
ALIASES = ["db", "my_db", "My.DB", "DATABASE", "a-very.long.name"]
ASK = lookups.PING


async def test_a_network_is_internal_or_has_names_as_it_was_asked(bed: Bed) -> None:
    networks, name = bed.podman.networks, bed.name()
    made = await networks.create(name, bed.mark, internal=True, dns=True)
    assert (made.isolated, made.internal, made.dns) == (True, True, True)
    assert await networks.create(name, bed.mark, internal=True, dns=True) == made
    for other in ({"internal": False, "dns": True}, {"internal": True, "dns": False}):
        with pytest.raises(PodmanError, match="differs from ours"):
            await networks.create(name, bed.mark, **other)
    plain = await networks.create(bed.name(), bed.mark)
    assert (plain.internal, plain.dns) == (False, False)


async def test_a_network_that_is_not_there(bed: Bed) -> None:
    with pytest.raises(NotFound, match="network not found"):
        await bed.run("sleep", "60", netns={"nsmode": "bridge"}, Networks={bed.name(): {}})


async def test_a_network_in_use_stays(bed: Bed) -> None:
    name = bed.name()
    await bed.podman.networks.create(name, bed.mark)
    container = await bed.podman.containers.create(
        bed.body("sleep", "60", netns={"nsmode": "bridge"}, Networks={name: {}})
    )
    with pytest.raises(PodmanError, match="network is being used"):
        await bed.podman.networks.remove(name)
    await bed.podman.containers.remove(container)
    assert await bed.podman.networks.remove(name)


@dataclasses.dataclass(frozen=True)
class Stack:
    """A network with names and one that is internal too, with a database in both."""

    bed: Bed
    front: str
    back: str
    db: str

    async def member(self, *networks: str, **fields: Any) -> str:
        given: dict[str, object] = {network: {} for network in networks}
        return await self.bed.run("sleep", "60", netns={"nsmode": "bridge"}, Networks=given, **fields)

    async def address(self, network: str) -> str:
        found = await self.bed.podman.containers.detail(self.db)
        assert found is not None
        return found.addresses[network]

    async def found(self, container: str, name: str) -> str:
        return await lookups.answered(self.bed.podman, container, ASK.format(name))

    async def said(self, container: str, script: str) -> str:
        executed = await self.bed.podman.execs.run(container, ["sh", "-c", script], limit=LIMIT)
        return executed.output


@pytest.fixture
async def stack(real: Bed) -> Stack:
    front, back = real.name(), real.name()
    await real.podman.networks.create(front, real.mark, dns=True)
    await real.podman.networks.create(back, real.mark, internal=True, dns=True)
    db = await real.run(
        "sleep",
        "60",
        netns={"nsmode": "bridge"},
        Networks={front: {"aliases": ALIASES}, back: {"aliases": ["behind"]}},
        hostname="its_own.Name",
    )
    return Stack(real, front, back, db)


async def test_an_alias_is_found_however_it_is_spelled(stack: Stack) -> None:
    member = await stack.member(stack.front)
    address = await stack.address(stack.front)
    for name in (*ALIASES, "DB", "MY_DB", "my.db"):
        assert f"PING {name} ({address})" in await stack.found(member, name)
    assert "bad address" in await stack.said(member, ASK.format("nobody.invalid"))


async def test_an_alias_is_found_in_its_own_network_only(stack: Stack) -> None:
    member = await stack.member(stack.back)
    address = await stack.address(stack.back)
    assert f"PING behind ({address})" in await stack.found(member, "behind")
    assert f"({address})" not in await stack.said(member, ASK.format("my_db"))


async def test_an_internal_network_has_no_way_out(stack: Stack) -> None:
    inside, outside = await stack.member(stack.back), await stack.member(stack.front)
    assert "default" not in await stack.said(inside, "/bin/busybox ip route")
    assert "default" in await stack.said(outside, "/bin/busybox ip route")
    other = await stack.address(stack.front)
    assert "unreachable" in await stack.said(inside, ASK.format(other))


async def test_a_hosts_file_has_the_lines_of_the_body_and_no_gateway_s(stack: Stack) -> None:
    container = await stack.member(stack.front, hostadd=["extra.example:10.9.8.7", "gateway:host-gateway"])
    lines = [line.split() for line in (await stack.said(container, "cat /etc/hosts")).splitlines()]
    assert ["10.9.8.7", "extra.example"] in lines
    # 4.3.1 writes this word where newer versions write an address
    assert [words for words in lines if words[-1] == "gateway" and words[0] == "host-gateway"]


async def test_members_of_a_network_namespace_are_found_by_its_holder_s_names(stack: Stack) -> None:
    holder = await stack.bed.podman.containers.create(
        stack.bed.body("sleep", "60", netns={"nsmode": "bridge"}, Networks={stack.front: {"aliases": ["served"]}})
    )
    inside = {"netns": {"nsmode": "container", "value": holder}}
    member = await stack.bed.run("sleep", "60", hostname="mine", **inside)
    state = await stack.bed.podman.containers.inspect(holder)
    assert state is not None
    assert state.running, "the start of a member starts the holder"
    assert "PING served" in await stack.found(stack.db, "served")
    assert (await stack.said(member, "/bin/busybox hostname")).strip() == "mine"
    other = await stack.bed.run("sleep", "60", **inside)
    await stack.said(member, "/bin/busybox nc -l -p 5432 -e /bin/echo heard &")
    assert await stack.said(other, "until /bin/busybox nc 127.0.0.1 5432 < /dev/null; do :; done 2>&-") == "heard\n"

    # a holder that ends leaves its members without a network, until they are started anew after it
    await stack.bed.podman.containers.stop(holder)
    assert "eth0" not in await stack.said(member, "/bin/busybox ip link")
    await stack.bed.podman.containers.start(holder)
    await stack.bed.podman.containers.stop(member)
    await stack.bed.podman.containers.start(member)
    assert "eth0" in await stack.said(member, "/bin/busybox ip link")
    for each in (member, other, holder):
        await stack.bed.podman.containers.remove(each)


async def test_a_holder_stays_while_it_has_members(bed: Bed) -> None:
    holder = await bed.podman.containers.create(bed.body("sleep", "60"))
    inside = {"netns": {"nsmode": "container", "value": holder}}
    member = await bed.run("sleep", "60", **inside)
    state = await bed.podman.containers.inspect(holder)
    assert state is not None
    assert state.running
    with pytest.raises(PodmanError):
        await bed.podman.containers.remove(holder)
    await bed.podman.containers.remove(member)
    assert await bed.podman.containers.remove(holder)


async def test_a_member_has_no_networks_and_no_hosts_of_its_own(bed: Bed) -> None:
    name = bed.name()
    await bed.podman.networks.create(name, bed.mark)
    holder = await bed.podman.containers.create(bed.body("sleep", "60"))
    inside = {"netns": {"nsmode": "container", "value": holder}}
    fields: dict[str, Any]
    for fields in ({"Networks": {name: {}}}, {"hostadd": ["x:10.0.0.1"]}):
        with pytest.raises(PodmanError) as refused:
            await bed.podman.containers.create(bed.body("true", **inside, **fields))
        assert refused.value.status == 500
    with pytest.raises(NotFound):
        await bed.podman.containers.create(bed.body("true", netns={"nsmode": "container", "value": "nobody"}))


async def test_a_holder_needs_no_image(bed: Bed, tmp_path: Path) -> None:
    """A folder of the node with a program is enough, and stays when the container is removed."""
    shutil.copy(BUSYBOX, tmp_path / "busybox")
    (tmp_path / "busybox").chmod(0o755)
    body = bed.body(rootfs=str(tmp_path), entrypoint=["/busybox", "sleep", "60"], read_only_filesystem=True)
    del body["image"]
    holder = await bed.podman.containers.create(body)
    await bed.podman.containers.start(holder)
    state = await bed.podman.containers.inspect(holder)
    assert state is not None
    assert (state.running, state.image_id) == (True, "")
    assert [one.id for one in await bed.podman.containers.list(bed.mark)] == [holder]
    member = await bed.run("sleep", "60", netns={"nsmode": "container", "value": holder})
    for each in (member, holder):
        await bed.podman.containers.remove(each)
    assert (tmp_path / "busybox").exists()
