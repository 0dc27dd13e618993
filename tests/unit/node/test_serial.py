"""Locks per session: who waits, the order in which several are taken, and that unused locks are dropped."""

from __future__ import annotations

import asyncio
import random

import pytest

from stromboli.node.serial import SessionLocks


async def test_one_holds_a_session_and_others_wait_in_order() -> None:
    locks, seen = SessionLocks(), list[str]()

    async def use(name: str) -> None:
        async with locks.hold("a"):
            seen.append(f"{name} in")
            await asyncio.sleep(0)
            seen.append(f"{name} out")

    await asyncio.gather(*map(use, "123"))
    assert seen == ["1 in", "1 out", "2 in", "2 out", "3 in", "3 out"]
    assert len(locks) == 0


async def test_sessions_do_not_wait_for_each_other() -> None:
    locks = SessionLocks()
    async with locks.hold("a"), locks.hold("b"):
        assert len(locks) == 2
    assert len(locks) == 0


async def test_those_who_hold_several_never_wait_for_each_other_for_ever() -> None:
    locks, chance = SessionLocks(), random.Random(1)

    async def use() -> None:
        for _ in range(50):
            async with locks.hold(*chance.choices("abcd", k=2)):
                await asyncio.sleep(0)

    async with asyncio.timeout(10):
        await asyncio.gather(*(use() for _ in range(8)))
    assert len(locks) == 0


async def test_who_stops_waiting_or_fails_leaves_nothing() -> None:
    locks = SessionLocks()
    async with locks.hold("a"):
        waits = asyncio.create_task(locks.hold("a").__aenter__())
        await asyncio.sleep(0)
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)
    with pytest.raises(ZeroDivisionError):
        async with locks.hold("a", "b"):
            raise ZeroDivisionError
    assert len(locks) == 0
    with pytest.raises(AssertionError, match="the lock of the session a is not held"):
        locks.check("a")
