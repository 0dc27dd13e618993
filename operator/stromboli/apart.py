"""Runs blocking calls that may take long, or never return, each in a dedicated thread.

asyncio's default thread pool is small and shared: calls that block in it would delay every short read of the operator.
A dedicated thread costs a tenth of a millisecond, and as a daemon thread does not keep the operator from exiting.
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
    """A call in progress. `found` is its result; cancelling it does not stop the thread."""

    found: asyncio.Future[T]
    thread: threading.Thread


def start(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Apart[T]:
    """Start the call; what it returns or raises is delivered to `found`."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if found.done():  # cancelled: nobody awaits it any more
            return
        if error is not None:
            found.set_exception(error)
        else:
            found.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        try:
            outcome: tuple[T | None, BaseException | None] = function(*args, **kwargs), None
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            outcome = None, error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, *outcome)

    context = contextvars.copy_context()  # as asyncio.to_thread does
    thread = threading.Thread(target=context.run, args=(run,), name=f"{function.__qualname__} apart", daemon=True)
    thread.start()
    return Apart(found, thread)


async def apart(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run the call in its own thread and await its result."""
    return await start(function, *args, **kwargs).found
