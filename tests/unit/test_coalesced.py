"""Reads that are shared: each answer comes from a call that began after its caller asked."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.coalesced import Coalesced


class Source:
    """Something that changes; a read takes what it is at the read's beginning, and ends when it is let go."""

    def __init__(self) -> None:
        self.now = 0
        self.reads: Counter[str] = Counter()
        self.go_on = asyncio.Event()
        self.fails = False

    async def read(self, key: str) -> int:
        self.reads[key] += 1
        seen, fails = self.now, self.fails
        await self.go_on.wait()
        if fails:
            raise LookupError(key)
        return seen


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
async def source() -> Source:
    return Source()


async def test_who_asks_while_a_read_is_under_way_shares_the_next_one(source: Source) -> None:
    shared = Coalesced(source.read)
    first = asyncio.create_task(shared.get("a"))
    await settle()
    source.now = 1
    later = [asyncio.create_task(shared.get("a")) for _ in range(5)]
    await settle()
    assert source.reads["a"] == 1
    source.go_on.set()
    assert await first == 0
    assert await asyncio.gather(*later) == [1] * 5
    assert source.reads["a"] == 2


async def test_keys_do_not_wait_for_one_another(source: Source) -> None:
    shared = Coalesced(source.read)
    tasks = [asyncio.create_task(shared.get(key)) for key in "ab"]
    await settle()
    assert source.reads == {"a": 1, "b": 1}
    source.go_on.set()
    await asyncio.gather(*tasks)


async def test_nothing_is_remembered(source: Source) -> None:
    shared = Coalesced(source.read)
    source.go_on.set()
    for now in range(3):
        source.now = now
        assert await shared.get("a") == now
    assert source.reads["a"] == 3


async def test_a_failure_reaches_everybody_who_shared_it_and_nobody_else(source: Source) -> None:
    shared = Coalesced(source.read)
    first = asyncio.create_task(shared.get("a"))
    await settle()
    source.fails = True
    later = [asyncio.create_task(shared.get("a")) for _ in range(3)]
    await settle()
    source.go_on.set()
    assert await first == 0
    found = await asyncio.gather(*later, return_exceptions=True)
    assert [type(each) for each in found] == [LookupError] * 3
    source.fails = False
    assert await shared.get("a") == 0


async def test_who_stops_waiting_takes_the_answer_from_nobody(source: Source) -> None:
    shared = Coalesced(source.read)
    tasks = [asyncio.create_task(shared.get("a")) for _ in range(4)]
    await settle()
    tasks[0].cancel()  # the read under way is its own
    tasks[1].cancel()
    source.go_on.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in found] == [asyncio.CancelledError, asyncio.CancelledError, int, int]
    assert await shared.get("a") == 0


@given(st.lists(st.sampled_from(["ask", "change", "step"]), max_size=60))
def test_no_answer_is_older_than_its_question(moves: list[str]) -> None:
    async def play() -> None:
        source = Source()
        shared = Coalesced(source.read)
        asked: list[tuple[int, asyncio.Task[int]]] = []
        for move in moves:
            if move == "ask":
                asked.append((source.now, asyncio.create_task(shared.get("a"))))
                await asyncio.sleep(0)
            elif move == "change":
                source.now += 1
            else:
                source.go_on.set()
                await asyncio.sleep(0)
                source.go_on.clear()
        source.go_on.set()
        for at, task in asked:
            assert await task >= at

    asyncio.run(play())


async def test_the_end_of_the_process_cancels_a_waiting_read_and_spoils_none_that_is_under_way(source: Source) -> None:
    """asyncio.run() cancels every task, and cancelling one cancels the future that it waits for."""
    shared = Coalesced(source.read)
    first = asyncio.create_task(shared.get("a"))
    await settle()
    before = asyncio.all_tasks()
    second = asyncio.create_task(shared.get("a"))
    await settle()
    for task in asyncio.all_tasks() - before:
        task.cancel()
    source.go_on.set()
    assert await first == 0
    with pytest.raises(asyncio.CancelledError):
        await second
    assert await shared.get("a") == 0
