"""What becomes of a run, from its creation to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from stromboli.errors import ApiRefused, ApiUnreachable
from stromboli.httpapi.caller import Caller
from stromboli.httpapi.errors import Refusal
from stromboli.httpapi.running.launch import Launched
from stromboli.httpapi.translate import answer
from stromboli.kube import objects
from stromboli.kube.caller import FIRST, LAST
from stromboli.kube.user import RUNS
from stromboli.models.run import Run
from stromboli.reasons import Reason

# Seconds for which a call waits for something that is missing before any attempt was made: its client may as well ask
# again once it is there. A run that nobody waits for goes on waiting.
PATIENCE = 30.0


async def ended(caller: Caller, run: Launched) -> Run:
    """The run once it has ended. Raises as `states`."""
    async with aclosing(states(caller, run)) as following:
        async for state in following:
            if state.status.is_finished:
                return state
    raise AssertionError("states come without end")


async def states(caller: Caller, run: Launched) -> AsyncGenerator[Run, None]:
    """Each state of the run, without end.

    Raises Refusal: 404 if it was deleted; 400, 502 or 503 if it was canceled here, because what it needs is missing;
    and ApiRefused.
    """
    clock = asyncio.get_running_loop().time
    lost: Run | None = None  # as it was when it was canceled here
    last, since = run.run, clock()
    async with aclosing(_states(caller, run)) as following:
        pending: asyncio.Task[Run] | None = None
        try:
            while True:
                pending = pending or asyncio.ensure_future(anext(following))
                left = since + PATIENCE - clock() if lost is None and _waits(last) else None
                done, _ = await asyncio.wait({pending}, timeout=None if left is None else max(0.0, left))
                if not done:
                    lost = last if await cancel(caller, run) else None
                    since = clock()
                    continue
                state, pending = pending.result(), None
                if lost is not None and state.status.reason == Reason.Canceled:
                    raise answer.missing(lost)
                if not _waits(last):
                    since = clock()
                last = state
                yield state
        finally:
            if pending is not None:
                pending.cancel()
                await asyncio.wait({pending})


def _waits(run: Run) -> bool:
    return run.status.reason in answer.MISSING and not run.status.attempts


async def _states(caller: Caller, run: Launched) -> AsyncGenerator[Run, None]:
    yield run.run
    async with aclosing(caller.cluster.states(RUNS, caller.namespace, run.name, known=True)) as following:
        async for wire in following:
            state = None if wire is None else objects.run(wire)
            if state is None or state.uid != run.uid:
                raise Refusal(404, f"the run {run.name} was deleted", "NotFound", {"job_id": run.name})
            yield state


async def cancel(caller: Caller, run: Launched) -> bool:
    """Cancel the run. False if it could not be asked for; a run that has ended, or is gone, needs nothing more."""
    pause = FIRST
    for _ in range(5):
        change = {"metadata": {"uid": run.uid}, "spec": {"cancel": True}}
        try:
            await caller.cluster.patch(RUNS, caller.namespace, run.name, change)
            return True
        except ApiRefused as e:
            if e.status in (404, 409):
                return True
            if not e.is_transient:
                return False
        except ApiUnreachable:
            pass
        await asyncio.sleep(pause)
        pause = min(pause * 2, LAST)
    return False
