"""A bound on what is in memory at once."""

from __future__ import annotations

import asyncio

import pytest

from stromboli.kube.room import Room


async def settled() -> None:
    """Until everybody who can go on has gone on."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_finds_no_room_waits_in_order() -> None:
    room, order = Room(10), list[str]()
    go = {name: asyncio.Event() for name in "abcd"}

    async def take(name: str, size: int) -> None:
        async with room.taken(size):
            order.append(name)
            await go[name].wait()

    async with asyncio.TaskGroup() as group:
        for name, size in (("a", 6), ("b", 6), ("c", 1), ("d", 4)):
            group.create_task(take(name, size))
        await settled()
        assert order == ["a"], "c would fit, but is behind b"
        go["a"].set()
        await settled()
        assert order == ["a", "b", "c"]
        go["b"].set()
        await settled()
        assert order == ["a", "b", "c", "d"]
        go["c"].set()
        go["d"].set()


async def test_what_is_larger_than_the_room_has_it_alone() -> None:
    room = Room(10)
    async with room.taken(1000):
        waiting = asyncio.create_task(room.taken(1).__aenter__())
        await asyncio.sleep(0)
        assert not waiting.done()
    await waiting


async def test_whoever_gives_up_or_fails_leaves_room() -> None:
    room = Room(10)
    with pytest.raises(KeyError):
        async with room.taken(10):
            raise KeyError
    async with room.taken(10):
        waiting = asyncio.create_task(room.taken(5).__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with room.taken(10):
        pass
