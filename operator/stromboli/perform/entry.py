"""What comes before each start: the run judged by today's policies, its turn in its session, everything there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, contextmanager

from stromboli.errors import ClusterUnavailable, Conflict, InLine, Oversized, Refused, Waiting
from stromboli.kube.client import Cluster
from stromboli.models.run import Run
from stromboli.models.session import Session
from stromboli.node.gate import Gate
from stromboli.node.serial import SessionLocks
from stromboli.observe import sessions
from stromboli.observe.sessions import Held, Queues
from stromboli.perform import readiness
from stromboli.perform.readiness import Readiness, Ready
from stromboli.perform.report import Reporter
from stromboli.perform.sessions import Sessions, Turn
from stromboli.plan import request
from stromboli.plan.policy import DEFAULT_TIMEOUT
from stromboli.plan.refusal import invalid
from stromboli.reasons import Reason
from stromboli.settings import Settings
from stromboli.status.run import waiter


class Entry:
    """Lets runs in."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        settings: Settings,
        looks: Readiness,
        queues: Queues,
        turns: Sessions,
        reporter: Reporter,
        idle: Callable[[str], None],
        locks: SessionLocks,
        gate: Gate,
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._looks = looks
        self._queues = queues
        self._turns = turns
        self._reporter = reporter
        self._idle = idle  # a session may have lost the run that had it
        self._locks = locks
        self._gate = gate
        # The timeouts of runs that were judged, asked anew after a restart.
        self._bounds: dict[str, float] = {}

    @asynccontextmanager
    async def ready(self, run: Run) -> AsyncIterator[tuple[Run, Ready, Turn | None]]:
        """Before each start: judged by today's policies, and everything there; the turn in the session that it names,
        if it names one, is the run's then.

        Gives the run as of the version that was judged, or that was written here: what is written next is guarded by
        that one, so that of two operators only one comes to start it. All of the run is in hand for the block only.
        Raises Refused, Waiting, Elsewhere, Conflict, and what `Readiness.of` and `Sessions.take` raise.
        """
        if run.status.reason == Reason.Queued:
            with self._waited_for():
                await self._queues.await_turn_again(run)
            if run.status.is_in_line:
                self._pass(run)
        async with self._whole(run) as whole:
            yield await self._ready(whole)

    @asynccontextmanager
    async def _whole(self, run: Run) -> AsyncIterator[Run]:
        """The run with all of its spec. Raises Conflict where it has changed, Refused, ClusterUnavailable."""
        if run.is_whole:
            yield run
            return
        try:
            async with self._cluster.whole_run(run.namespace, run.name) as found:
                if found is None or found.uid != run.uid or found.status != run.status:
                    raise Conflict(f"{run.name} has changed since it was looked at")
                yield found
        except Oversized as error:
            raise invalid("spec", f"{error}; put the prompt into a ConfigMap or Secret (spec.promptFrom)") from error

    async def _ready(self, run: Run) -> tuple[Run, Ready, Turn | None]:
        with self._waited_for():
            spec, named = readiness.parse(run), None
            if spec.session is not None:
                named = await sessions.named(self._cluster, run, spec, spec.session)
                spec = named.spec
            judged = await readiness.judge(self._cluster, self._settings, run.namespace, spec)
            self._bounds[run.uid] = judged.request.timeout
            if named is None:
                ready = await self._looks.of(run, judged)
                self._pass(run)
                return run, ready, None
            for session in filter(None, (named.obj, named.parent)):
                sessions.check_node(session, self._settings.node)
            await self._queues.await_turn(run, named.obj, named.name)
            if named.parent is not None:
                await self._queues.await_turn(run, named.parent, named.parent.name)
            ready = await self._looks.of(run, judged, named.pinned)
            self._pass(run)
            if named.parent is not None:
                run = await self._copying(run, named.parent)
            return run, ready, await self._turns.take(run, named, ready)

    def _pass(self, run: Run) -> None:
        """The start gate, which is the last: what is wrong or missing was found before. Raises InLine."""
        if run.status.attempts:
            self._gate.enter_again(run.uid)
            return
        place = self._gate.enter(waiter(run, self._reporter.moment(run)))
        if place is not None:
            limits = f"{self._gate.starts} start at once"
            limits += f", and at most {self._gate.most} are at work" if self._gate.most is not None else ""
            raise InLine(f"place {place} in the line to start on node {self._settings.node}, where {limits}")

    @asynccontextmanager
    async def holding(self, run: Run, ready: Ready, turn: Turn | None) -> AsyncIterator[Held]:
        """Inside the block nobody else touches what the run's session has on the node. Raises as `Sessions.holding`."""
        async with AsyncExitStack() as stack:
            if turn is None:
                await stack.enter_async_context(self._locks.hold(run.uid))
                held = Held(run.uid)
            else:
                with self._waited_for():
                    held = await stack.enter_async_context(self._turns.holding(run, turn, ready))
            yield held

    @contextmanager
    def _waited_for(self) -> Iterator[None]:
        try:
            yield
        except sessions.Leaving as leaving:
            self._idle(leaving.uid)
            raise
        except ClusterUnavailable as error:
            # It may be one Secret that may not be read; if it is the whole API server, saying so fails as well.
            raise Waiting(Reason.WaitingForReference, str(error)) from error

    async def _copying(self, run: Run, parent: Session) -> Run:
        """A fork is made between its parent's runs, and may take a while."""
        message = f"copying the session {parent.name}"
        return await self._reporter.at(run, run.status, Reason.Starting, message)

    def turn(self, uid: str) -> AbstractContextManager[None]:
        """Around a turn of the run: once let in by the start gate, it has to start, or makes room for another."""
        return self._gate.turn(uid)

    def started(self, uid: str) -> None:
        """The run's container has been started."""
        self._gate.started(uid)

    def at_work(self, uid: str) -> None:
        """The run's container was started before."""
        self._gate.at_work(uid)

    def bound(self, run: Run) -> float:
        """How long a wait may take, in seconds; it has to hold for specs and policies that cannot be read, too."""
        if run.status.attempts:
            return run.status.attempts[-1].timeout
        if (known := self._bounds.get(run.uid)) is not None:
            return known
        try:
            return request.timeout_of(readiness.parse(run), None)
        except Refused:
            return DEFAULT_TIMEOUT

    def forget(self, uid: str) -> None:
        """The run has ended."""
        self._bounds.pop(uid, None)
        self._gate.ended(uid)
