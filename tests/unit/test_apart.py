"""Blocking work beside the loop: its result, its failure, and that nobody else waits for it."""

from __future__ import annotations

import asyncio
import threading
import weakref
from contextvars import ContextVar

import pytest

from stromboli.apart import IDLE, apart, start


async def test_what_it_returns_and_what_it_raises_arrive() -> None:
    assert await apart(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await apart(divmod, 7, 0)


async def test_however_many_there_are_asyncios_own_threads_are_free() -> None:
    go_on = threading.Event()
    waiting = [asyncio.create_task(apart(go_on.wait)) for _ in range(64)]
    async with asyncio.timeout(10):
        await asyncio.to_thread(lambda: None)
    go_on.set()
    assert all(await asyncio.gather(*waiting))


async def test_who_stops_waiting_hears_no_more_of_it() -> None:
    go_on = threading.Event()
    waiting = asyncio.create_task(apart(go_on.wait))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    go_on.set()
    assert await apart(divmod, 7, 2) == (3, 1)


def test_the_end_of_the_loop_does_not_wait_for_it() -> None:
    go_on = threading.Event()

    async def leave() -> None:
        asyncio.create_task(apart(go_on.wait))  # noqa: RUF006 - it is left on purpose
        await asyncio.sleep(0)

    asyncio.run(leave())
    go_on.set()


async def test_it_sees_the_context_of_whoever_began_it() -> None:
    known: ContextVar[str] = ContextVar("known")
    known.set("here")
    assert await apart(known.get) == "here"


async def test_a_thread_that_is_free_takes_the_next_call_and_a_busy_one_does_not() -> None:
    go_on = threading.Event()
    first = await apart(threading.get_ident)
    assert await apart(threading.get_ident) == first
    waiting = [asyncio.create_task(apart(go_on.wait)) for _ in range(IDLE + 3)]
    await asyncio.sleep(0)
    busy = {thread.ident for thread in threading.enumerate() if thread.name == "apart"}
    assert len(busy) >= IDLE + 3
    assert await apart(threading.get_ident) not in busy
    go_on.set()
    await asyncio.gather(*waiting)


async def test_few_idle_threads_are_kept() -> None:
    async def many() -> set[threading.Thread]:
        go_on = threading.Event()
        calls = [start(go_on.wait) for _ in range(3 * IDLE)]
        go_on.set()
        await asyncio.gather(*(call.found for call in calls))
        return {call.thread for call in calls}

    first, second = await many(), await many()
    assert len(first) == len(second) == 3 * IDLE
    assert len(first & second) == IDLE


async def test_an_idle_thread_keeps_nothing_of_its_last_call() -> None:
    class Large:
        pass

    large = Large()
    seen = weakref.ref(large)
    await apart(id, large)
    del large
    assert seen() is None
