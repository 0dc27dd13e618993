"""One turn of one run: observe, decide, perform, report. The page that joins the rooms.

A turn reads what is there (the run's status, the node, the policies), does the next thing, writes the status if
it changed, and says when it wants to be called again. It may be killed between any two lines: the next turn,
of this process or of another, finds the same things there and goes on. What must not happen twice is guarded
by marks on disk and by the write-ahead in `_launch`, never by memory.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import assert_never

from stromboli.errors import (
    Conflict,
    Rejected,
)
from stromboli.kube.client import Cluster
from stromboli.models.agentrun import PromptSent
from stromboli.models.run import Run, RunStatus
from stromboli.observe import runs
from stromboli.observe.attempts import Trace
from stromboli.observe.traces import Traces
from stromboli.perform.deletions import Deletions
from stromboli.perform.endings import Endings
from stromboli.perform.entry import Admitted, Entry
from stromboli.perform.going import Going
from stromboli.perform.judge import Judge
from stromboli.perform.launch import Launcher, Subject
from stromboli.perform.notify import Notifier
from stromboli.perform.report import Reporter
from stromboli.plan import follow, refusal, variables
from stromboli.plan.follow import (
    AwaitCLI,
    Cancel,
    EndAttempt,
    Finish,
    FollowAgent,
    FollowHooks,
    GiveUp,
    Launch,
    TryAgain,
)
from stromboli.plan.session import hooks_to_run
from stromboli.plan.verdict import STOPPING, LeaveAlone, Refuse, Stop, Wait, verdict
from stromboli.reasons import EventReason, Reason
from stromboli.status import run as states
from stromboli.store import Store

log = logging.getLogger(__name__)

UNTOLD_LOOK = 30.0  # seconds between looks at a run whose status cannot be written


class Reconciler:
    """Brings one run after the other a step further."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        store: Store,
        entry: Entry,
        launcher: Launcher,
        traces: Traces,
        going: Going,
        judge: Judge,
        endings: Endings,
        deletions: Deletions,
        reporter: Reporter,
        notifier: Notifier,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._entry = entry
        self._launcher = launcher
        self._traces = traces
        self._going = going
        self._judge = judge
        self._endings = endings
        self._deletions = deletions
        self._reporter = reporter
        self._notifier = notifier

    async def turn(self, uid: str) -> float | None:
        """One turn; seconds until the next, None for "when something happens"."""
        run = await runs.newest(self._cluster, self._store, uid)
        if self._store.is_deleted(uid):
            await self._deletions.gone(uid)
            self._entry.forget(uid)
            self._store.forget(uid)
            return None
        if run is None:  # it has ended, possibly on another node while it was waiting for a start here
            self._entry.forget(uid)
            return None
        try:
            with self._entry.turn(uid):
                return await self._step(run)
        except Conflict:
            return await self._look_again(run)

    async def _step(self, run: Run) -> float | None:
        if run.status.is_finished or run.status.node not in ("", self._reporter.node):
            self._entry.forget(run.uid)
            return None
        try:
            return await (self._follow(run) if run.status.attempts else self._start(run, number=1))
        except Rejected as error:  # what is written down before a start cannot be: there is none
            return await self._stop(self._reporter.latest(run), Refuse(Reason.InvalidSpec, str(error)))
        except STOPPING as error:
            self._entry.heed(run, error)
            return await self._stop(self._reporter.latest(run), verdict(error))

    async def _follow(self, run: Run) -> float | None:
        """An attempt is written down: see how it is, and go on from there."""
        self._entry.at_work(run.uid)
        trace = await self._traces.look(run)
        said = follow.decide(run, trace.seen, self._reporter.moment(run).now)
        match said:
            case FollowHooks() | FollowAgent():
                return await self._still_going(run, trace, said)
            case EndAttempt():
                await self._launcher.end(said.container, by_force=said.by_force)
                return await self._still_going(run, trace, said.then)
            case Finish():
                await self._finish(run, trace, said)
            case Launch():
                return await self._start(run, said.number)
            case TryAgain():
                return await self._try_again(run, said)
            case AwaitCLI():
                self._entry.doubt_cli()
                return await self._stop(run, said.wait)
            case Cancel():
                await self._cancel(run, said)
            case _:
                assert_never(said)
        return None

    async def _try_again(self, run: Run, said: TryAgain) -> float | None:
        """Another attempt. Nothing is forgotten of the CLI's mount on one container's word: it is looked at."""
        if said.doubt_cli:
            self._entry.doubt_cli()
        return await self._start(run, said.number, said)

    async def _cancel(self, run: Run, said: Cancel) -> None:
        """It is said once its agent works no more."""
        await self._endings.cut_off(run)
        new = states.closed(run.status, said.reason, PromptSent.unknown, self._reporter.moment(run))
        await self._conclude(run, new, said.reason, said.message)

    async def _start(self, run: Run, number: int, given_up: TryAgain | None = None) -> float | None:
        """Everything that an attempt needs, and then the attempt."""
        async with self._entry.admitted(run) as found:
            if isinstance(found, Admitted):
                return await self._launch(found, number, given_up)
        return await self._stop(self._reporter.latest(run), found)

    async def _launch(self, admitted: Admitted, number: int, given_up: TryAgain | None) -> float | None:
        """The folder, the write-ahead, the start: in this order, an attempt can only ever run once.

        An attempt in the status whose folder is missing has lost its marks, and counts as sent. `given_up` is the one
        before this, if it never sent its prompt. Nobody touches what the session has on the node meanwhile; and that
        run and session are still there is seen once it is held: of the session by a look, of the run by the writes.
        """
        run, ready = admitted.run, admitted.ready
        subject = _subject(run, number)
        async with self._entry.holding(admitted) as held:
            await self._launcher.prepare(subject, ready, held)
            if given_up is not None:
                run = await self._give_up_attempt(run, given_up)
            run = await self._reporter.write_ahead(run, ready, held, number)
            name = await self._launcher.launch(subject, ready, held)
        self._entry.started(subject.uid)
        self._notifier.emit(run, EventReason.Started, f"started container {name} of image {ready.image.id[:12]}")
        if names := variables.withheld(ready.image.env):
            self._notifier.emit(run, EventReason.VariablesWithheld, _withheld(names))
        if (lost := await self._launcher.unenforced(ready)) is not None:
            self._notifier.emit(run, EventReason.LimitsNotEnforced, lost)
        hooks = bool(hooks_to_run(ready.judged.request.hooks, held.initialized))
        said = follow.begun(run, self._reporter.moment(run).now, hooks=hooks)
        return await self._going.started(run, said)

    async def _still_going(self, run: Run, trace: Trace, said: FollowHooks | FollowAgent) -> float | None:
        """The container runs, and goes on running where only that cannot be written down."""
        self._launcher.take_back(run.session_uid)
        try:
            return await self._going.follow(run, said, trace.records, self._traces.given(run))
        except Rejected as error:
            log.warning("%s: how far it is stays untold: %s", run.label, error)
            return UNTOLD_LOOK

    async def _finish(self, run: Run, trace: Trace, said: Finish) -> None:
        """The attempt has ended: judge it, write it down, take its container away."""
        secrets = self._traces.given(run)
        ended = await self._judge.ended(run, trace, said, secrets)
        new = states.ended(run.status, ended, trace.records.steps, said.ended_at, self._reporter.moment(run))
        new = self._going.with_mcp_servers(run, new, trace.records.stdout, secrets)
        message = ended.message
        if ended.left_out:
            lost = f"the status has not all of the answer: {'; '.join(ended.left_out)}; {self._whole(run)}"
            message = f"{message}; {lost}"
            self._notifier.emit(run, EventReason.AnswerIncomplete, lost)
        await self._conclude(run, new, ended.reason, message)

    async def _stop(self, run: Run, said: Stop) -> float | None:
        """What does not let a run start, or go on: it ends, or waits, and says so."""
        if run.status.node not in ("", self._reporter.node):  # another operator has taken it up meanwhile
            return None
        match said:
            case Refuse():
                new = states.disallowed(run.status, said, self._reporter.moment(run))
                await self._conclude(run, new, said.reason, refusal.as_outcome(said))
                return None
            case Wait(reason=Reason.Queued):
                await self._queue(run, said)
                return said.delay
            case Wait(reason=Reason.Starting):  # something is done for it here, which has a bound of its own
                await self._reporter.at(run, run.status, said.reason, said.message)
                return said.delay
            case Wait():
                return await self._wait(run, said)
            case LeaveAlone():
                return None
            case _:
                assert_never(said)

    async def _wait(self, run: Run, said: Wait) -> float | None:
        """Say for what, and end it when it has taken too long."""
        status, moment = run.status, self._reporter.moment(run)
        waited, bound = states.waited(status, moment), self._entry.bound(run)
        if waited >= bound:
            await self._out_of_time(run, said, bound)
            return None
        if said.reason != status.reason:
            self._notifier.emit_reason(run, said.reason, said.message, warning=said.reason is not Reason.Pulling)
        await self._reporter.write(run, states.at(status, said.reason, said.message, moment))
        # Most troubles are over at once: look again soon, and less often the longer it takes.
        return max(min(said.delay, max(waited, 0.5), bound - waited), 0.1)

    async def _queue(self, run: Run, said: Wait) -> None:
        """Who stands in this node's line is this node's, and is told its place once: it changes with each start."""
        status = run.status
        if said.in_line:
            if status.is_in_line:
                return
            status = states.in_line(status, self._reporter.node)
        await self._reporter.at(run, status, said.reason, said.message)

    async def _out_of_time(self, run: Run, waits: Wait, bound: float) -> None:
        """The wait took too long. Podman may be what it waits for."""
        trace = await self._traces.look_without_podman(run) if run.status.attempts else None
        now = self._reporter.moment(run).now
        said = follow.out_of_time(run, trace.seen if trace is not None else None, now, waits, bound)
        match said:
            case Finish():
                assert trace is not None
                await self._finish(run, trace, said)
            case GiveUp():
                await self._conclude(run, run.status, said.reason, said.message)
            case _:
                assert_never(said)

    async def _conclude(self, run: Run, status: RunStatus, reason: Reason, message: str) -> None:
        """End the run at `reason`, with all else that `status` tells; then what it needs no more goes."""
        everything = self._whole(run) if status.attempts else ""
        await self._endings.conclude(run, status, reason, message, everything)
        self._entry.forget(run.uid)
        await self._endings.leave(run)

    async def _give_up_attempt(self, run: Run, given_up: TryAgain) -> Run:
        """An attempt that never sent its prompt: note it and make room for the next."""
        moment = self._reporter.moment(run)
        await self._endings.start_over(run)
        why, code, finished = (given_up.reason, given_up.message), given_up.exit_code, given_up.ended_at
        new = states.given_up(run.status, *why, moment, code, finished)
        return await self._reporter.write(run, new)

    def _whole(self, run: Run) -> str:
        """Where everything is that the agent answered."""
        file = self._traces.out(run) / "stdout"
        return f"until the run is deleted, the CLI's output is in {file} on node {self._reporter.node}"

    async def _look_again(self, run: Run) -> float | None:
        """A write lost a race: what is there now decides."""
        await runs.read(self._cluster, self._store, run.uid, run.namespace, run.name)
        return 0.0


def _subject(run: Run, number: int) -> Subject:
    return Subject(uid=run.uid, namespace=run.namespace, name=run.name, number=number)


def _withheld(names: Sequence[str]) -> str:
    return (
        f"the image sets {', '.join(names)}, by which the Claude CLI's own runtime would load other code, wait for a "
        "debugger or end: neither the CLI nor what it starts gets this; hooks do"
    )
