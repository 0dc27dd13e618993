"""Receivers that are slow hold up only their own."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from stromboli.perform.notifications.lanes import Lanes


async def taken(lanes: Lanes, *wanted: tuple[str, str]) -> set[tuple[str, str, int]]:
    """Who of these gets a place, if nobody gives one back; afterwards all have given theirs back."""
    inside: set[tuple[str, str, int]] = set()
    over = asyncio.Event()

    async def hold(namespace: str, receiver: str, number: int) -> None:
        async with lanes.taken(namespace, receiver):
            inside.add((namespace, receiver, number))
            await over.wait()

    tasks = [asyncio.create_task(hold(*one, number)) for number, one in enumerate(wanted)]
    for _ in range(20):
        await asyncio.sleep(0)
    found = set(inside)
    over.set()
    await asyncio.gather(*tasks)
    assert len(inside) == len(wanted), "in the end, each"
    assert len(lanes) == 0, "nothing is left of those who are gone"
    return found


async def test_a_receiver_has_two_places_and_its_namespace_four() -> None:
    slow, others = [("a", "slow")] * 10, [("a", "x"), ("a", "y"), ("a", "z"), ("b", "slow")]
    found = await taken(Lanes(), *slow, *others)
    assert [len([one for one in found if one[:2] == pair]) for pair in (("a", "slow"), ("b", "slow"))] == [2, 1]
    assert len([one for one in found if one[0] == "a"]) == 4


async def test_all_of_them_have_a_bound_and_are_served_in_turn() -> None:
    found = await taken(Lanes(all_=3), *[("a", "x")] * 9, *[("b", "x")] * 9, ("c", "x"))
    assert len(found) == 3


async def test_one_that_gives_up_leaves_nothing() -> None:
    lanes = Lanes(receiver=1)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(lanes.taken("a", "x"))
        waits = asyncio.create_task(stack.enter_async_context(lanes.taken("a", "x")))
        await asyncio.sleep(0)
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
    assert len(lanes) == 0
    assert await taken(lanes, ("a", "x")) == {("a", "x", 0)}
