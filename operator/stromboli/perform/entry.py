"""What comes before each start: the run judged by today's policies, its turn in its session, everything there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

from stromboli.errors import ClusterUnavailable, Conflict, InLine, Oversized, Refused, Waiting
from stromboli.grammar import duration
from stromboli.kube import outline
from stromboli.kube.client import Cluster
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
from stromboli.status.run import is_in_line, reason_of, waiter

Object = dict[str, Any]


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
    async def ready(self, obj: Object) -> AsyncIterator[tuple[Object, Ready, Turn | None]]:
        """Before each start: judged by today's policies, and everything there; the turn in the session that it names,
        if it names one, is the run's then.

        Gives the run as of the version that was judged, or that was written here: what is written next is guarded by
        that one, so that of two operators only one comes to start it. All of the run is in hand for the block only.
        Raises Refused, Waiting, Elsewhere, Conflict, and what `Readiness.of` and `Sessions.take` raise.
        """
        status = obj.get("status") or {}
        if reason_of(status) == Reason.Queued:
            with self._waited_for():
                await self._queues.await_turn_again(obj)
            if is_in_line(status):
                self._pass(obj)
        async with self._whole(obj) as whole:
            yield await self._ready(whole)

    @asynccontextmanager
    async def _whole(self, obj: Object) -> AsyncIterator[Object]:
        """The run with all of its spec. Raises Conflict where it has changed, Refused, ClusterUnavailable."""
        if outline.is_whole(obj):
            yield obj
            return
        meta = obj["metadata"]
        try:
            async with self._cluster.whole_run(meta["namespace"], meta["name"]) as found:
                if found is None or found["metadata"]["uid"] != meta["uid"] or found.get("status") != obj.get("status"):
                    raise Conflict(f"{meta['name']} has changed since it was looked at")
                yield found
        except Oversized as error:
            raise invalid("spec", f"{error}; put the prompt into a ConfigMap or Secret (spec.promptFrom)") from error

    async def _ready(self, obj: Object) -> tuple[Object, Ready, Turn | None]:
        meta = obj["metadata"]
        with self._waited_for():
            spec, named = readiness.parse(obj), None
            if spec.session is not None:
                named = await sessions.named(self._cluster, obj, spec, spec.session)
                spec = named.spec
            judged = await readiness.judge(self._cluster, self._settings, meta["namespace"], spec)
            self._bounds[meta["uid"]] = judged.request.timeout
            if named is None:
                ready = await self._looks.of(obj, judged)
                self._pass(obj)
                return obj, ready, None
            for session in filter(None, (named.obj, named.parent)):
                sessions.check_node(session, self._settings.node)
            await self._queues.await_turn(obj, named.obj, named.name)
            if named.parent is not None:
                await self._queues.await_turn(obj, named.parent, named.parent["metadata"]["name"])
            ready = await self._looks.of(obj, judged, named.pinned)
            self._pass(obj)
            if named.parent is not None:
                obj = await self._copying(obj, named.parent)
            return obj, ready, await self._turns.take(obj, named, ready)

    def _pass(self, obj: Object) -> None:
        """The start gate, which is the last: what is wrong or missing was found before. Raises InLine."""
        meta, status = obj["metadata"], obj.get("status") or {}
        if status.get("attempts"):
            self._gate.enter_again(meta["uid"])
            return
        place = self._gate.enter(waiter(obj, self._reporter.moment(obj)))
        if place is not None:
            limits = f"{self._gate.starts} start at once"
            limits += f", and at most {self._gate.most} are at work" if self._gate.most is not None else ""
            raise InLine(f"place {place} in the line to start on node {self._settings.node}, where {limits}")

    @asynccontextmanager
    async def holding(self, obj: Object, ready: Ready, turn: Turn | None) -> AsyncIterator[Held]:
        """Inside the block nobody else touches what the run's session has on the node. Raises as `Sessions.holding`."""
        async with AsyncExitStack() as stack:
            if turn is None:
                await stack.enter_async_context(self._locks.hold(obj["metadata"]["uid"]))
                held = Held(obj["metadata"]["uid"])
            else:
                with self._waited_for():
                    held = await stack.enter_async_context(self._turns.holding(obj, turn, ready))
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

    async def _copying(self, obj: Object, parent: Object) -> Object:
        """A fork is made between its parent's runs, and may take a while."""
        message = f"copying the session {parent['metadata']['name']}"
        return await self._reporter.at(obj, obj.get("status") or {}, Reason.Starting, message)

    def turn(self, uid: str) -> AbstractContextManager[None]:
        """Around a turn of the run: once let in by the start gate, it has to start, or makes room for another."""
        return self._gate.turn(uid)

    def started(self, uid: str) -> None:
        """The run's container has been started."""
        self._gate.started(uid)

    def at_work(self, uid: str) -> None:
        """The run's container was started before."""
        self._gate.at_work(uid)

    def bound(self, obj: Object) -> float:
        """How long a wait may take, in seconds; it has to hold for specs and policies that cannot be read, too."""
        if made := (obj.get("status") or {}).get("attempts"):
            return duration.parse(made[-1]["timeout"])
        if (known := self._bounds.get(obj["metadata"]["uid"])) is not None:
            return known
        try:
            return request.timeout_of(readiness.parse(obj), None)
        except Refused:
            return DEFAULT_TIMEOUT

    def forget(self, uid: str) -> None:
        """The run has ended."""
        self._bounds.pop(uid, None)
        self._gate.ended(uid)
