"""Blocking work beside the loop: its result, its failure, and that nobody else waits for it."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest

from stromboli.apart import apart


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
