"""Blocking work in a thread of its own, for what may take long or for ever.

asyncio's own threads are few and everybody's: whoever fills them holds up every short read of the operator. A thread
of its own costs a tenth of a millisecond, and does not keep the operator from exiting.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Apart(Generic[T]):
    """Work under way. `found` may be cancelled, which does not end the thread."""

    found: asyncio.Future[T]
    thread: threading.Thread


def start(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Apart[T]:
    """Begin it; what it returns or raises is in `found`."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if found.done():  # nobody waits for it any more
            return
        if error is not None:
            found.set_exception(error)
        else:
            found.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        try:
            outcome: tuple[T | None, BaseException | None] = function(*args, **kwargs), None
        except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
            outcome = None, error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, *outcome)

    context = contextvars.copy_context()  # as asyncio.to_thread does
    thread = threading.Thread(target=context.run, args=(run,), name=f"{function.__qualname__} apart", daemon=True)
    thread.start()
    return Apart(found, thread)


async def apart(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do it, and wait for it."""
    return await start(function, *args, **kwargs).found
