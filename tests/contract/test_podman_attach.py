"""Attaching to a container reports its end at once; on the real Podman only, since the fake has no streams."""

from __future__ import annotations

import asyncio
import uuid

from stromboli import naming
from stromboli.node.ends import Ends
from tests.contract.conftest import Bed

WITHIN = 20.0


async def test_the_stream_ends_with_the_container(real: Bed) -> None:
    container = await real.podman.containers.create(real.body("sh", "-c", "echo said; exit 3"))
    async with asyncio.timeout(WITHIN), real.podman.containers.attached(container) as chunks:
        await real.podman.containers.start(container)
        said = b"".join([chunk async for chunk in chunks])
    assert b"said" in said
    assert await real.podman.containers.wait(container) == 3


async def test_whoever_listens_is_woken_by_the_end(real: Bed) -> None:
    woken: asyncio.Queue[str] = asyncio.Queue()
    ends = Ends(real.podman, woken.put_nowait)
    key = naming.agent(str(uuid.uuid4()))
    container = await real.podman.containers.create(real.body("sh", "-c", "exit 0", name=key.name))
    async with asyncio.timeout(WITHIN):
        await ends.listen(key)
        await real.podman.containers.start(container)
        ends.watch(key, "run", WITHIN)
        assert await woken.get() == "run"
    state = await real.podman.containers.inspect(container)
    assert state is not None
    assert state.exit_code == 0
    await ends.close()


async def test_a_start_does_not_wait_for_one_that_cannot_be_listened_to(real: Bed) -> None:
    ends = Ends(real.podman, lambda _: None)
    async with asyncio.timeout(WITHIN):
        await ends.listen(naming.agent("of-no-session"))
    await ends.close()
