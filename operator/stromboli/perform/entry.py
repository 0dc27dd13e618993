"""What comes before each start: every gate passed (gates.py), and the run's turn in its session taken."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from stromboli.errors import ClusterUnavailable, Conflict, Oversized, Refused, Waiting
from stromboli.models.run import Run
from stromboli.node.serial import SessionLocks
from stromboli.observe.sessions import Held
from stromboli.perform.candidate import Candidate, Ready
from stromboli.perform.gates import Gates, parse
from stromboli.perform.sessions.starts import SessionStarts, Turn
from stromboli.plan import request
from stromboli.plan.policy import DEFAULT_TIMEOUT
from stromboli.plan.refusal import invalid
from stromboli.plan.verdict import GoOn, Stop
from stromboli.reasons import Reason


@dataclass(frozen=True, slots=True)
class Admitted:
    """A run that may start: as of the version that was judged, or that was written here."""

    run: Run
    ready: Ready
    turn: Turn | None


class Entry:
    """Lets runs in."""

    def __init__(self, gates: Gates, starts: SessionStarts, locks: SessionLocks) -> None:
        self._gates = gates
        self._starts = starts
        self._locks = locks
        # The timeouts of runs that were judged, asked anew after a restart.
        self._bounds: dict[str, float] = {}

    @asynccontextmanager
    async def admitted(self, run: Run) -> AsyncIterator[Admitted | Stop]:
        """Before each start: what stops the run, or all that its attempt needs. All of the run is in hand for the
        block only.

        What is written next is guarded by the version that is given, so that of two operators only one comes to start
        the run. Raises Conflict, and what `SessionStarts.take` raises.
        """
        candidate = Candidate(run)
        said = self._starts.under_way(run) or await self._gates.through(candidate, self._gates.early)
        if not isinstance(said, GoOn):
            yield said
            return
        async with self._whole(run) as whole:
            candidate = Candidate(whole)
            said = await self._gates.through(candidate, self._gates.all)
            if candidate.timeout is not None:
                self._bounds[run.uid] = candidate.timeout
            yield said if not isinstance(said, GoOn) else await self._taken(candidate)

    async def _taken(self, candidate: Candidate) -> Admitted:
        """The turn in the session that the run names, if it names one, is the run's from now on."""
        run, ready, named = candidate.run, candidate.ready(), candidate.named
        if named is None:
            return Admitted(run, ready, None)
        return Admitted(run, ready, await self._starts.take(run, named, ready))

    @asynccontextmanager
    async def _whole(self, run: Run) -> AsyncIterator[Run]:
        """The run with all of its spec. Raises Conflict where it has changed, Refused, Waiting."""
        if run.is_whole:
            yield run
            return
        try:
            async with self._gates.cluster.whole_run(run.namespace, run.name) as found:
                if found is None or found.uid != run.uid or found.status != run.status:
                    raise Conflict(f"{run.name} has changed since it was looked at")
                yield found
        except Oversized as error:
            raise invalid("spec", f"{error}; put the prompt into a ConfigMap or Secret (spec.promptFrom)") from error

    @asynccontextmanager
    async def holding(self, admitted: Admitted) -> AsyncIterator[Held]:
        """Inside the block nobody else touches what the run's session has on the node.

        Raises as `SessionStarts.holding`.
        """
        run, turn = admitted.run, admitted.turn
        async with AsyncExitStack() as stack:
            if turn is None:
                await stack.enter_async_context(self._locks.hold(run.uid))
                held = Held(run.uid)
            else:
                try:
                    held = await stack.enter_async_context(self._starts.holding(run, turn, admitted.ready))
                except ClusterUnavailable as error:
                    raise Waiting(Reason.WaitingForReference, str(error)) from error
            yield held

    def heed(self, run: Run, error: Exception) -> None:
        """An error has stopped the run: look at what it gives reason to look at."""
        self._gates.heed(run, error)

    def doubt_cli(self) -> None:
        """A container did not find the CLI: its mount is looked at before the next start."""
        self._gates.mounts.doubt()

    def turn(self, uid: str) -> AbstractContextManager[None]:
        """Around a turn of the run: once let in by the start gate, it has to start, or makes room for another."""
        return self._gates.start_gate.turn(uid)

    def started(self, uid: str) -> None:
        """The run's container has been started."""
        self._gates.start_gate.started(uid)

    def at_work(self, uid: str) -> None:
        """The run's container was started before."""
        self._gates.start_gate.at_work(uid)

    def bound(self, run: Run) -> float:
        """How long a wait may take, in seconds; it has to hold for specs and policies that cannot be read, too."""
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
        self._gates.start_gate.ended(uid)
