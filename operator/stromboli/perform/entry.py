"""What comes before each start: the run judged by today's policies, its turn in its session, everything there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

from stromboli.errors import ClusterUnavailable, Conflict, Oversized, Refused, Waiting
from stromboli.grammar import duration
from stromboli.kube import outline
from stromboli.kube.client import Cluster
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
from stromboli.status.run import reason_of

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
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._looks = looks
        self._queues = queues
        self._turns = turns
        self._reporter = reporter
        self._idle = idle  # a session may have lost the run that had it
        self._locks = locks
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
        if reason_of(obj.get("status") or {}) == Reason.Queued:
            with self._waited_for():
                await self._queues.await_turn_again(obj)
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
                return obj, await self._looks.of(obj, judged), None
            for session in filter(None, (named.obj, named.parent)):
                sessions.check_node(session, self._settings.node)
            await self._queues.await_turn(obj, named.obj, named.name)
            if named.parent is not None:
                obj = await self._await_parent(obj, named.parent)
            ready = await self._looks.of(obj, judged, named.pinned)
            return obj, ready, await self._turns.take(obj, named, ready)

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

    async def _await_parent(self, obj: Object, parent: Object) -> Object:
        """A fork is made between its parent's runs, and may take a while."""
        name = parent["metadata"]["name"]
        await self._queues.await_turn(obj, parent, name)
        status = obj.get("status") or {}
        return await self._reporter.at(obj, status, Reason.Starting, f"copying the session {name}")

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
