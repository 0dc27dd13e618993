"""What becomes of a run, from its creation to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from stromboli.errors import ApiRefused, ApiUnreachable
from stromboli.httpapi.caller import Caller
from stromboli.httpapi.errors import Refusal
from stromboli.httpapi.running.launch import Launched
from stromboli.kube import objects
from stromboli.kube.caller import FIRST, LAST
from stromboli.kube.user import RUNS
from stromboli.models.run import Run
from stromboli.reasons import Reason

# Seconds for which a call waits for Podman before any prompt was sent: its client may as well ask again later.
PATIENCE = 30.0


async def ended(caller: Caller, run: Launched) -> Run:
    """The run once it has ended. Raises Refusal: 404 if it was deleted, 503 if Podman is away before it has begun, when
    it was canceled; ApiRefused.
    """
    since: float | None = None
    canceled = False
    clock = asyncio.get_running_loop().time
    async with aclosing(states(caller, run)) as following:
        pending: asyncio.Task[Run] | None = None
        try:
            while True:
                pending = pending or asyncio.ensure_future(anext(following))
                left = None if since is None or canceled else max(0.0, since + PATIENCE - clock())
                done, _ = await asyncio.wait({pending}, timeout=left)
                if not done:
                    canceled = await cancel(caller, run)
                    continue
                state, pending = pending.result(), None
                if state.status.is_finished:
                    if canceled and state.status.reason == Reason.Canceled:
                        raise Refusal(
                            503,
                            f"Podman has been away for {PATIENCE:.0f} s; the run {run.name} was canceled before its "
                            "prompt was sent, so it is safe to try again",
                            Reason.PodmanUnavailable,
                            {"job_id": run.name},
                        )
                    return state
                waits = state.status.reason == Reason.PodmanUnavailable and not state.status.attempts
                since = (clock() if since is None else since) if waits else None
        finally:
            if pending is not None:
                pending.cancel()
                await asyncio.wait({pending})


async def states(caller: Caller, run: Launched) -> AsyncGenerator[Run, None]:
    """Each state of the run, without end. Raises Refusal (404) if it is deleted, ApiRefused."""
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
