"""One reconcile pass of one run: observe, decide, perform, report. The module that joins the packages.

A pass reads what is there (the run's status, the node, the policies), does the next thing, writes the status if
it changed, and returns when it is to be called again. It may be killed between any two lines: the next pass,
of this process or of another, finds the same state and continues. What must not happen twice is guarded
by seals on disk and by the write-ahead in perform/starter.py, never by memory.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import assert_never

from stromboli.errors import Conflict, Rejected
from stromboli.kube.client import Cluster
from stromboli.models.run import Run
from stromboli.observe import runs
from stromboli.observe.attempts import Trace
from stromboli.observe.traces import Traces
from stromboli.perform.deletions import Deletions
from stromboli.perform.entry import Entry
from stromboli.perform.finisher import Finisher
from stromboli.perform.going import Going
from stromboli.perform.report import Reporter
from stromboli.perform.starter import Starter
from stromboli.perform.stopper import Stopper
from stromboli.plan import follow
from stromboli.plan.follow import (
    AwaitCLI,
    Cancel,
    EndAttempt,
    Finish,
    FollowAgent,
    FollowHooks,
    HoldBack,
    Launch,
    Pause,
    TryAgain,
)
from stromboli.plan.verdict import STOPPING, Refuse, Stop, verdict
from stromboli.reasons import Reason
from stromboli.store import Store


@dataclass(frozen=True, slots=True)
class Performers:
    """What carries out the decisions."""

    starter: Starter
    going: Going
    finisher: Finisher
    stopper: Stopper
    deletions: Deletions


class Reconciler:
    """Takes each run a step further."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        traces: Traces,
        entry: Entry,
        performers: Performers,
        reporter: Reporter,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._traces = traces
        self._entry = entry
        self._perform = performers
        self._reporter = reporter

    async def reconcile(self, uid: str) -> float | None:
        """One pass; seconds until the next, None for "when something happens"."""
        async with self._policies_ahead(uid):
            return await self._pass(uid)

    def _policies_ahead(self, uid: str) -> AbstractAsyncContextManager[None]:
        """The policies for a new run are read beside the run itself."""
        reported = self._store.unread(uid)
        if reported is None or self._store.get(uid) is not None:
            return nullcontext()
        return self._entry.policies_ahead(uid, reported.namespace)

    async def _pass(self, uid: str) -> float | None:
        run = await runs.newest(self._cluster, self._store, uid)
        if self._store.is_deleted(uid):
            await self._perform.deletions.gone(uid)
            self._forget(uid)
            self._store.forget(uid)
            return None
        if run is None:  # it has ended, possibly on another node while it was waiting for a start here
            self._forget(uid)
            return None
        try:
            with self._entry.reconciling(uid):
                return await self._step(run)
        except Conflict:
            return await self._read_again(run)

    async def _step(self, run: Run) -> float | None:
        if run.status.is_finished or run.status.node not in ("", self._reporter.node):
            self._forget(run.uid)
            return None
        try:
            said = await (self._follow(run) if run.status.attempts else self._begin(run))
            return await self._stop(run, said) if isinstance(said, Stop) else said
        except Rejected as error:  # the write-ahead of a start was rejected, so there is no start
            return await self._stop(run, Refuse(Reason.InvalidSpec, str(error)))
        except STOPPING as error:
            self._entry.heed(run, error)
            return await self._stop(run, verdict(error))

    async def _begin(self, run: Run) -> float | Stop | None:
        """There is no attempt in the status yet."""
        match follow.before_start(run):
            case Cancel() as said:
                await self._perform.finisher.cancel(run, said)
                return None
            case HoldBack() as said:
                self._entry.forget(run.uid)
                await self._perform.stopper.hold_back(run, said)
                return None
            case None:
                return await self._perform.starter.start(run, number=1)

    async def _follow(self, run: Run) -> float | Stop | None:
        """There is an attempt in the status: observe it, and carry out what that calls for."""
        if not run.status.is_between_attempts:
            self._entry.at_work(run.uid)
        trace = await self._traces.of(run)
        said = follow.decide(run, trace.seen, self._reporter.moment(run).now)
        match said:
            case Launch():
                return await self._perform.starter.start(run, said.number)
            case FollowHooks() | FollowAgent() | EndAttempt():
                return await self._perform.going.follow(run, trace, said)
            case TryAgain():
                return await self._try_again(run, said)
            case AwaitCLI():
                self._entry.doubt_cli()
                return said.wait
            case Finish():
                return await self._perform.finisher.finish(run, trace, said)
            case Cancel():
                return await self._cancel(run, trace, said)
            case HoldBack():
                self._entry.rests(run.uid)
                await self._perform.stopper.hold_back(run, said)
                return None
            case Pause():
                return await self._perform.stopper.pause(run, said)
            case _:
                assert_never(said)

    async def _cancel(self, run: Run, trace: Trace, said: Cancel) -> float | None:
        """End the run. A start that a killed operator has requested may still be on its way to Podman: what has not
        begun is made unable to begin, and looked at once more.
        """
        if not trace.seen.started and not trace.seen.session_deleted and not run.status.is_between_attempts:
            await self._perform.starter.revoke(run)
            trace = await self._traces.of(run)
            if trace.seen.started or trace.seen.phase is follow.Phase.running:
                return 0.0
        await self._perform.finisher.cancel(run, said)
        return None

    async def _try_again(self, run: Run, said: TryAgain) -> float | Stop | None:
        """Another attempt. One container that misses the CLI proves nothing about its mount, so that is checked."""
        if said.doubt_cli:
            self._entry.doubt_cli()
        return await self._perform.starter.start(run, said.number, said)

    async def _stop(self, run: Run, said: Stop) -> float | None:
        """Something stops the run, in its latest version: it ends, or waits."""
        return await self._perform.stopper.stop(self._reporter.latest(run), said)

    def _forget(self, uid: str) -> None:
        """Nothing is to be done for the run any more, or for now."""
        self._entry.forget(uid)
        self._traces.forget(uid)

    async def _read_again(self, run: Run) -> float | None:
        """A write lost a race: read the run, and reconcile again at once."""
        await runs.read(self._cluster, self._store, run.uid, run.namespace, run.name)
        return 0.0
