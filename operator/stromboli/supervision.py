"""Background tasks whose failures are never silent.

Parts that last as long as the operator run in `together`: if one of them fails or returns, the process exits, so that
whatever supervises it (systemd, the kubelet) restarts it. Work beside the reconcile passes is started with `spawn`:
its failure is logged and affects no other task.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from stromboli.errors import PartDied

log = logging.getLogger(__name__)
T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, None]]


def spawn(work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """Start a task that may never be awaited. An unexpected exception is logged with its traceback."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_log_failure)
    return task


async def set_within(event: asyncio.Event, seconds: float | None) -> None:
    """Return once the event is set, and after so many seconds in any case; None is no limit."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


async def together(main: Work, name: str, lasting: Mapping[str, Work], passing: Mapping[str, Work]) -> None:
    """Run `main`, called `name`, and concurrently the named `lasting` and `passing` parts.

    All of them are cancelled when `main` returns. If any part fails, or a lasting one returns before `main`, the others
    are cancelled and PartDied is raised; a passing part may return at any time.
    """
    try:
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(_part(name, work, lasts=True), name=name) for name, work in lasting.items()]
            beside += [group.create_task(_part(name, work, lasts=False), name=name) for name, work in passing.items()]
            await _part(name, main, lasts=False)
            for task in beside:
                task.cancel()
    except ExceptionGroup as failures:
        if (died := failures.subgroup(PartDied)) is None:
            raise
        raise died.exceptions[0] from None


async def _part(name: str, work: Work, *, lasts: bool) -> None:
    try:
        await work()
    except PartDied as error:
        log.critical("%s; the operator exits", error)
        raise
    except Exception as error:  # any error at all is logged and ends the operator
        log.critical("%s: unexpected error; the operator exits", name, exc_info=error)
        raise PartDied(f"{name} has died ({type(error).__name__}); the log has its traceback") from error
    if lasts:
        log.critical("%s has returned, although it should run forever; the operator exits", name)
        raise PartDied(f"{name} has returned, although it should run forever")


def _log_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s: unexpected error", task.get_name(), exc_info=error)
