"""Runs blocking calls that may take long, or never return, each in a thread that nothing else uses meanwhile.

asyncio's default thread pool is small and shared: calls that block in it would delay every short read of the operator.
Here a call never waits for another: it gets an idle thread, or else a new one. Starting a thread blocks the event loop
until the thread runs, so a few are kept for the next calls. As daemon threads they do not keep the operator from
exiting.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

IDLE = 4  # threads that are kept for the next calls

Work = Callable[[], None]


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

    def run() -> Work:
        try:
            outcome: tuple[T | None, BaseException | None] = function(*args, **kwargs), None
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            outcome = None, error

        def deliver() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, *outcome)

        return deliver

    context = contextvars.copy_context()  # as asyncio.to_thread does
    return Apart(found, _threads.run(lambda: context.run(run)))


async def apart(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run the call in its own thread and await its result."""
    return await start(function, *args, **kwargs).found


class _Threads:
    """The threads: those that are idle, each waiting for its next call."""

    def __init__(self) -> None:
        self._idle: list[_Thread] = []
        self._lock = threading.Lock()

    def run(self, call: Callable[[], Work]) -> threading.Thread:
        """Make a call in a thread that does nothing else meanwhile; what it returns is called once it is free."""
        with self._lock:
            thread = self._idle.pop() if self._idle else None
        if thread is None:
            thread = _Thread(self)
            thread.start()
        thread.calls.put(call)
        return thread

    def rest(self, thread: _Thread) -> bool:
        """Whether the thread is kept for another call."""
        with self._lock:
            if len(self._idle) >= IDLE:
                return False
            self._idle.append(thread)
            return True


class _Thread(threading.Thread):
    def __init__(self, threads: _Threads) -> None:
        super().__init__(name="apart", daemon=True)
        self.calls: queue.SimpleQueue[Callable[[], Work]] = queue.SimpleQueue()
        self._threads = threads

    def run(self) -> None:
        kept = True
        while kept:
            deliver = self.calls.get()()
            kept = self._threads.rest(self)  # first, so that whoever awaits the result finds the thread free
            deliver()
            del deliver  # an idle thread keeps nothing of its last call


_threads = _Threads()
