"""Admits runs to a start: a run has to pass all gates (gates.py), and then takes its turn in its session."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from stromboli.errors import ClusterUnavailable, Refused, Waiting
from stromboli.models.run import Run
from stromboli.node.serial import SessionLocks
from stromboli.observe.sessions import Held
from stromboli.perform.candidate import Candidate, Ready
from stromboli.perform.gates import Gates
from stromboli.perform.lookups import parse
from stromboli.perform.sessions.starts import SessionStarts, Turn
from stromboli.perform.stacks.starts import StackStarts
from stromboli.plan import request
from stromboli.plan.policy import DEFAULT_TIMEOUT
from stromboli.plan.verdict import GoOn, Refuse, Stop
from stromboli.reasons import Reason


@dataclass(frozen=True, slots=True)
class Admitted:
    """A run that may start, in the version that was checked or that was written here."""

    run: Run
    ready: Ready
    turn: Turn | None


class Entry:
    """Admits runs to a start."""

    def __init__(self, gates: Gates, starts: SessionStarts, stacks: StackStarts, locks: SessionLocks) -> None:
        self._gates = gates
        self._starts = starts
        self._stacks = stacks
        self._locks = locks
        # The timeouts of runs that were checked; computed again after a restart.
        self._bounds: dict[str, float] = {}

    @asynccontextmanager
    async def admitted(self, run: Run) -> AsyncIterator[Admitted | Stop]:
        """Before each start: what stops the run, or everything that its attempt needs. The whole run is in memory only
        inside the block.

        The next write is guarded by the returned version, so that only one of two operators starts the run. Raises
        Conflict, and what `SessionStarts.take` raises.
        """
        if (wait := self._starts.under_way(run) or self._stacks.under_way(run.uid)) is not None:
            yield await self._refusal(run) or wait
            return
        said = await self._gates.through(Candidate(run), self._gates.early)
        if not isinstance(said, GoOn):
            yield said
            return
        lookups = self._gates.lookups
        async with lookups.whole(run) as whole, lookups.current.ahead(run.uid, run.namespace):
            candidate = Candidate(whole)
            said = await self._gates.through(candidate, self._gates.all)
            if candidate.timeout is not None:
                self._bounds[run.uid] = candidate.timeout
            yield said if not isinstance(said, GoOn) else await self._taken(candidate)

    def policies_ahead(self, uid: str, namespace: str) -> AbstractAsyncContextManager[None]:
        """Begin to read the policies for a run that may be admitted inside the block."""
        return self._gates.lookups.current.ahead(uid, namespace)

    async def _refusal(self, run: Run) -> Refuse | None:
        """What refuses the run by now, while it waits for work that was started for it; None for nothing."""
        async with self._gates.lookups.whole(run) as whole:
            said = await self._gates.through(Candidate(whole), self._gates.lasting)
        return said if isinstance(said, Refuse) else None

    async def _taken(self, candidate: Candidate) -> Admitted:
        """Take the run's turn in the session that it names, if it names one, and bring up its stack, if it has one."""
        run, ready, named = candidate.run, candidate.ready(), candidate.named
        turn = await self._starts.take(run, named, ready) if named is not None else None
        blueprint = await self._stacks.ensure(run, turn.session.uid if turn is not None else run.uid, ready)
        return Admitted(run, replace(ready, blueprint=blueprint), turn)

    @asynccontextmanager
    async def holding(self, admitted: Admitted) -> AsyncIterator[Held]:
        """Inside the block, the lock of the run's session is held: nothing else changes what it has on the node.

        Raises as `SessionStarts.holding`.
        """
        run, turn = admitted.run, admitted.turn
        async with AsyncExitStack() as stack:
            if turn is None:
                held = await stack.enter_async_context(self._starts.alone(run, admitted.ready))
            else:
                try:
                    held = await stack.enter_async_context(self._starts.holding(run, turn, admitted.ready))
                except ClusterUnavailable as error:
                    raise Waiting(Reason.WaitingForReference, str(error)) from error
            yield held

    def heed(self, run: Run, error: Exception) -> None:
        """An error has stopped the run: check whatever may have caused it before the next start."""
        self._gates.heed(run, error)

    def doubt_cli(self) -> None:
        """A container did not find the CLI: check its mount before the next start."""
        self._gates.images.doubt_cli()

    def reconciling(self, uid: str) -> AbstractContextManager[None]:
        """During one pass over the run: if the start gate admits it and it does not start, its place is freed."""
        return self._gates.start_line.gate.reconciling(uid)

    def started(self, uid: str) -> None:
        """The run's container has been started."""
        self._gates.start_line.gate.started(uid)

    def at_work(self, uid: str) -> None:
        """The run's container was started before."""
        self._gates.start_line.gate.at_work(uid)

    def rests(self, uid: str) -> None:
        """The run has no container at work until its next attempt."""
        self._gates.start_line.gate.ended(uid)

    def bound(self, run: Run) -> float:
        """How long the run may wait, in seconds; also for invalid specs and policies."""
        if run.status.attempts:
            return run.status.attempts[-1].timeout
        if (known := self._bounds.get(run.uid)) is not None:
            return known
        try:
            return request.timeout_of(parse(run), None)
        except Refused:
            return DEFAULT_TIMEOUT

    def forget(self, uid: str) -> None:
        """The run has ended."""
        self._bounds.pop(uid, None)
        self._gates.images.leave(uid)
        self._gates.start_line.gate.ended(uid)
