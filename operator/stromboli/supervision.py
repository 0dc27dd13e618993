"""Tasks in the background: none of them dies in silence.

What goes on for as long as the operator does is `together` with it: if it dies, or ends, the process ends too, so that
whoever watches the process starts another. What is done beside one object's turn is spawned: it ends nobody else's.
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
    """A task that nobody may come to wait for. What it did not expect is logged, with its traceback."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_log_a_defect)
    return task


async def together(main: Work, name: str, lasting: Mapping[str, Work], passing: Mapping[str, Work]) -> None:
    """Run `main`, called `name`, and beside it, by their names, what lasts as long and what may be done before.

    The end of `main` ends them. If any of them dies, or one that is to last ends, the others are ended, and PartDied is
    raised.
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
        log.critical("%s; the operator ends", error)
        raise
    except Exception as error:  # whatever it is: it is logged, and ends the operator
        log.critical("%s: a defect; the operator ends", name, exc_info=error)
        raise PartDied(f"{name} has died ({type(error).__name__}); the log has its traceback") from error
    if lasts:
        log.critical("%s has ended, which it never should; the operator ends", name)
        raise PartDied(f"{name} has ended, which it never should")


def _log_a_defect(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s: a defect", task.get_name(), exc_info=error)
