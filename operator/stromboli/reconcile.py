"""One turn of one run: observe, decide, perform, report. The page that joins the rooms.

A turn reads what is there (the run's status, the node, the policies), does the next thing, writes the status if
it changed, and says when it wants to be called again. It may be killed between any two lines: the next turn,
of this process or of another, finds the same things there and goes on. What must not happen twice is guarded
by marks on disk and by the write-ahead in `_launch`, never by memory.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from stromboli.errors import (
    Conflict,
    Rejected,
    Waiting,
)
from stromboli.grammar import duration
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
from stromboli.plan.follow import Next
from stromboli.plan.session import hooks_to_run
from stromboli.plan.verdict import STOPPING, LeaveAlone, Refuse, Stop, Wait, verdict
from stromboli.reasons import EventReason, Reason
from stromboli.status import run as states
from stromboli.store import Store

log = logging.getLogger(__name__)

UNTOLD_LOOK = 30.0  # seconds between looks at a run whose status cannot be written


@dataclass(frozen=True, slots=True)
class _GivenUp:
    """An attempt that never sent its prompt, and what is said of it."""

    trace: Trace
    reason: Reason
    message: str


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
        if run is None:
            return None
        try:
            with self._entry.turn(uid):
                return await self._step(run)
        except Conflict:
            return await self._look_again(run)

    async def _step(self, run: Run) -> float | None:
        if run.status.is_finished or run.status.node not in ("", self._reporter.node):
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
        if await self._session_is_gone(run):
            await self._cancel(run)
            return None
        trace = await self._traces.look(run, self._reporter.moment(run).now)
        decision = follow.decide(trace.seen)
        match decision:
            case Next.watch:
                return await self._still_going(run, trace)
            case Next.call_time | Next.kill:
                await self._launcher.end(run.status.attempts[-1].container, by_force=decision is Next.kill)
                return await self._still_going(run, trace)
            case Next.finish:
                return await self._finish(run, trace)
            case Next.launch:
                return await self._start(run, trace.seen.number)
            case Next.look_for_cli:
                return await self._look_for_cli(run, trace)
            case Next.try_again:
                message = "the attempt was cut short before the prompt was sent; it is tried again"
                return await self._start(run, trace.seen.number + 1, _GivenUp(trace, Reason.ContainerLost, message))

    async def _look_for_cli(self, run: Run, trace: Trace) -> float | None:
        """The supervisor found no CLI. What is mounted is looked at before the next start, and nothing is forgotten
        on one container's word. Raises Waiting where it is too early for that start.
        """
        self._entry.doubt_cli()
        message = "the container did not find the Claude CLI; its mount is looked at, and the start is tried again"
        left = follow.pause(trace.seen.number) - trace.since_end(self._reporter.moment(run).now)
        if left > 0:
            raise Waiting(Reason.CLIImageUnavailable, message, left)
        return await self._start(run, trace.seen.number + 1, _GivenUp(trace, Reason.CLIImageUnavailable, message))

    async def _session_is_gone(self, run: Run) -> bool:
        """Whether the session that the run has was deleted under it."""
        has = run.status.session
        if has is None:
            return False
        found = await self._cluster.session_outline(run.namespace, has.name)
        return found is None or found.uid != has.uid or found.is_being_deleted

    async def _cancel(self, run: Run) -> None:
        """Its session was deleted: that it is canceled is said once its agent works no more."""
        await self._endings.cut_off(run)
        new = states.closed(run.status, Reason.Canceled, PromptSent.unknown, self._reporter.moment(run))
        await self._conclude(
            run, new, Reason.Canceled, f"its session {run.session} was deleted while the run was going"
        )

    async def _start(self, run: Run, number: int, given_up: _GivenUp | None = None) -> float | None:
        """Everything that an attempt needs, and then the attempt."""
        async with self._entry.admitted(run) as found:
            if isinstance(found, Admitted):
                return await self._launch(found, number, given_up)
        return await self._stop(self._reporter.latest(run), found)

    async def _launch(self, admitted: Admitted, number: int, given_up: _GivenUp | None) -> float | None:
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
        until = ready.judged.request.timeout + follow.CALL_AFTER
        hooks = bool(hooks_to_run(ready.judged.request.hooks, held.initialized))
        return await self._going.started(run, until, hooks=hooks)

    async def _still_going(self, run: Run, trace: Trace) -> float | None:
        """The container runs, and goes on running where only that cannot be written down."""
        self._launcher.take_back(run.session_uid)
        try:
            return await self._going.look(run, trace, self._traces.given(run))
        except Rejected as error:
            log.warning("%s: how far it is stays untold: %s", run.label, error)
            return UNTOLD_LOOK

    async def _finish(self, run: Run, trace: Trace) -> float | None:
        """The attempt has ended: judge it, write it down, take its container away."""
        secrets = self._traces.given(run)
        ended = await self._judge.ended(run, trace, secrets)
        new = states.ended(run.status, ended, trace.records.steps, trace.ended_at, self._reporter.moment(run))
        new = self._going.with_mcp_servers(run, new, trace.records.stdout, secrets)
        message = ended.message
        if ended.left_out:
            lost = f"the status has not all of the answer: {'; '.join(ended.left_out)}; {self._whole(run)}"
            message = f"{message}; {lost}"
            self._notifier.emit(run, EventReason.AnswerIncomplete, lost)
        await self._conclude(run, new, ended.reason, message)
        return None

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
            await self._give_up(run, f"gave up after {duration.format(bound)} ({said.reason}): {said.message}")
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

    async def _give_up(self, run: Run, message: str) -> None:
        """The wait took too long. An attempt that has ended meanwhile, as its record says, has its own outcome."""
        if run.status.attempts:
            trace = await self._traces.look_without_podman(run, self._reporter.moment(run).now)
            if trace.records.end is not None:
                await self._finish(run, trace)
                return
        await self._conclude(run, run.status, Reason.TimedOut, message)

    async def _conclude(self, run: Run, status: RunStatus, reason: Reason, message: str) -> None:
        """End the run at `reason`, with all else that `status` tells; then what it needs no more goes."""
        everything = self._whole(run) if status.attempts else ""
        await self._endings.conclude(run, status, reason, message, everything)
        self._entry.forget(run.uid)
        await self._endings.leave(run)

    async def _give_up_attempt(self, run: Run, given_up: _GivenUp) -> Run:
        """An attempt that never sent its prompt: note it and make room for the next."""
        moment = self._reporter.moment(run)
        code = None if given_up.trace.state is None else given_up.trace.state.exit_code
        await self._endings.start_over(run)
        new = states.given_up(run.status, given_up.reason, given_up.message, moment, code, given_up.trace.ended_at)
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
