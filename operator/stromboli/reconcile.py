"""One turn of one run: observe, decide, perform, report. The page that joins the rooms.

A turn reads what is there (the run's status, the node, the policies), does the next thing, writes the status if
it changed, and says when it wants to be called again. It may be killed between any two lines: the next turn,
of this process or of another, finds the same things there and goes on. What must not happen twice is guarded
by marks on disk and by the write-ahead in `_launch`, never by memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stromboli import naming
from stromboli.errors import (
    Conflict,
    Elsewhere,
    InLine,
    LocalFailure,
    PodmanError,
    PodmanUnavailable,
    Refused,
    Rejected,
    Waiting,
)
from stromboli.grammar import duration
from stromboli.kube.client import Cluster
from stromboli.models.agentrun import PromptSent
from stromboli.node.cleanup import Cleaner
from stromboli.node.cli import CLIMounts
from stromboli.observe import attempts, runs
from stromboli.observe.attempts import Trace
from stromboli.perform.endings import Endings
from stromboli.perform.entry import Entry
from stromboli.perform.going import Going, Watch
from stromboli.perform.launch import Launcher, Subject
from stromboli.perform.notify import Notifier
from stromboli.perform.readiness import Ready
from stromboli.perform.report import Reporter
from stromboli.perform.sessions import Sessions, Turn
from stromboli.plan import follow, outcome, refusal, variables, waiting
from stromboli.plan.follow import Next
from stromboli.plan.redaction import Secrets
from stromboli.plan.session import hooks_to_run
from stromboli.podman.transport import Podman
from stromboli.reasons import Reason
from stromboli.settings import Settings
from stromboli.status import run as states
from stromboli.status.run import Status
from stromboli.store import Store

log = logging.getLogger(__name__)

UNTOLD_LOOK = 30.0  # seconds between looks at a run whose status cannot be written

Object = dict[str, Any]


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
        podman: Podman,
        settings: Settings,
        store: Store,
        entry: Entry,
        reporter: Reporter,
        mounts: CLIMounts,
        launcher: Launcher,
        cleaner: Cleaner,
        notifier: Notifier,
        turns: Sessions,
        watch: Watch,
        forget: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._podman = podman
        self._settings = settings
        self._store = store
        self._entry = entry
        self._reporter = reporter
        self._mounts = mounts
        self._launcher = launcher
        self._cleaner = cleaner
        self._notifier = notifier
        self._sessions = turns
        self._forget = forget  # that a session's container is watched
        self._going = Going(reporter, notifier, watch)
        self._endings = Endings(reporter, notifier, turns, cleaner)

    async def turn(self, uid: str) -> float | None:
        """One turn; seconds until the next, None for "when something happens"."""
        obj = await runs.newest(self._cluster, self._store, uid)
        if self._store.is_deleted(uid):
            await self._endings.gone(uid)
            self._entry.forget(uid)
            self._store.forget(uid)
            return None
        if obj is None:
            return None
        try:
            with self._entry.turn(uid):
                return await self._step(obj)
        except Conflict:
            return await self._look_again(obj)

    async def _step(self, obj: Object) -> float | None:
        status = obj.get("status") or {}
        if states.is_finished(status) or status.get("node") not in (None, "", self._settings.node):
            return None
        try:
            if status.get("attempts"):
                return await self._follow(obj)
            return await self._begin(obj)
        except Elsewhere:
            return None
        except (Refused, Waiting) as problem:
            return await self._stop(self._reporter.latest(obj), problem)
        except Rejected as error:  # what is written down before a start cannot be: there is none
            return await self._stop(self._reporter.latest(obj), Refused(Reason.InvalidSpec, str(error)))
        except waiting.NODE as error:
            if isinstance(error, PodmanError | PodmanUnavailable):
                self._mounts.doubt()
            return await self._stop(self._reporter.latest(obj), waiting.from_podman(error))
        except (LocalFailure, OSError) as error:
            log.warning("%s: %s", _subject(obj, 0).label, error)
            return await self._stop(self._reporter.latest(obj), waiting.from_node(error))

    async def _begin(self, obj: Object) -> float | None:
        """Nothing has been done for this run yet, or it was waiting."""
        return await self._start(obj, number=1)

    async def _follow(self, obj: Object) -> float | None:
        """An attempt is written down: see how it is, and go on from there."""
        self._entry.at_work(obj["metadata"]["uid"])
        if await self._session_is_gone(obj):
            await self._cancel(obj)
            return None
        trace = await self._look(obj)
        decision = follow.decide(trace.seen)
        match decision:
            case Next.watch:
                return await self._still_going(obj, trace)
            case Next.call_time | Next.kill:
                await self._launcher.end(obj["status"]["attempts"][-1]["container"], by_force=decision is Next.kill)
                return await self._still_going(obj, trace)
            case Next.finish:
                return await self._finish(obj, trace)
            case Next.launch:
                return await self._start(obj, trace.seen.number)
            case Next.look_for_cli:
                return await self._look_for_cli(obj, trace)
            case Next.try_again:
                message = "the attempt was cut short before the prompt was sent; it is tried again"
                return await self._start(obj, trace.seen.number + 1, _GivenUp(trace, Reason.ContainerLost, message))

    async def _look_for_cli(self, obj: Object, trace: Trace) -> float | None:
        """The supervisor found no CLI. What is mounted is looked at before the next start, and nothing is forgotten
        on one container's word. Raises Waiting where it is too early for that start.
        """
        self._mounts.doubt()
        message = "the container did not find the Claude CLI; its mount is looked at, and the start is tried again"
        left = follow.pause(trace.seen.number) - trace.since_end(self._reporter.moment(obj).now)
        if left > 0:
            raise Waiting(Reason.CLIImageUnavailable, message, left)
        return await self._start(obj, trace.seen.number + 1, _GivenUp(trace, Reason.CLIImageUnavailable, message))

    async def _session_is_gone(self, obj: Object) -> bool:
        """Whether the session that the run has was deleted under it."""
        has = obj["status"].get("session")
        if not has:
            return False
        found = await self._cluster.session_outline(obj["metadata"]["namespace"], has["name"])
        return found is None or found["metadata"]["uid"] != has["uid"] or states.is_being_deleted(found)

    async def _cancel(self, obj: Object) -> None:
        """Its session was deleted: that it is canceled is said once its agent works no more."""
        status, name = obj["status"], obj["status"]["session"]["name"]
        await self._sessions.end(states.session_of(obj))
        moment = self._reporter.moment(obj)
        closed = states.closed(status["attempts"][-1], Reason.Canceled, PromptSent.unknown, moment)
        new = states.with_attempt(status, closed)
        await self._conclude(obj, new, Reason.Canceled, f"its session {name} was deleted while the run was going")

    async def _start(self, obj: Object, number: int, given_up: _GivenUp | None = None) -> float | None:
        """Everything that an attempt needs, and then the attempt."""
        async with self._entry.ready(obj) as (whole, ready, turn):
            return await self._launch(whole, ready, turn, number, given_up)

    async def _launch(
        self, obj: Object, ready: Ready, turn: Turn | None, number: int, given_up: _GivenUp | None
    ) -> float | None:
        """The folder, the write-ahead, the start: in this order, an attempt can only ever run once.

        An attempt in the status whose folder is missing has lost its marks, and counts as sent. `given_up` is the one
        before this, if it never sent its prompt. Nobody touches what the session has on the node meanwhile; and that
        run and session are still there is seen once it is held: of the session by a look, of the run by the writes.
        """
        subject = _subject(obj, number)
        async with self._entry.holding(obj, ready, turn) as held:
            await self._launcher.prepare(subject, ready, held)
            if given_up is not None:
                obj = await self._give_up_attempt(obj, given_up)
            obj = await self._reporter.write_ahead(obj, ready, held, number)
            name = await self._launcher.launch(subject, ready, held)
        self._entry.started(subject.uid)
        self._notifier.tell(obj, "Started", f"started container {name} of image {ready.image.id[:12]}")
        if names := variables.withheld(ready.image.env):
            self._notifier.tell(obj, "VariablesWithheld", _withheld(names), warning=True)
        if (lost := await self._launcher.unenforced(ready)) is not None:
            self._notifier.tell(obj, "LimitsNotEnforced", lost, warning=True)
        until = ready.judged.request.timeout + follow.CALL_AFTER
        hooks = bool(hooks_to_run(ready.judged.request.hooks, held.initialized))
        return await self._going.started(obj, until, hooks=hooks)

    async def _still_going(self, obj: Object, trace: Trace) -> float | None:
        """The container runs, and goes on running where only that cannot be written down."""
        self._launcher.take_back(states.session_of(obj))
        try:
            return await self._going.look(obj, trace, self._given(obj))
        except Rejected as error:
            log.warning("%s: how far it is stays untold: %s", _subject(obj, 0).label, error)
            return UNTOLD_LOOK

    async def _finish(self, obj: Object, trace: Trace) -> float | None:
        """The attempt has ended: judge it, write it down, take its container away."""
        status, attempt = obj["status"], obj["status"]["attempts"][-1]
        secrets = self._given(obj)
        ended = await asyncio.to_thread(  # ten MiB of output may have to be read
            outcome.of,
            trace.records,
            secrets,
            container_exit=None if trace.state is None else trace.state.exit_code,
            oom=trace.state is not None and trace.state.oom_killed,
            timeout=trace.seen.timeout,
            ran=attempts.ran(trace.state),
            too_large=trace.seen.too_large,
        )
        if states.is_kept(obj) and ended.answer is not None:
            name = naming.attempt(obj["metadata"]["uid"], attempt["number"])
            answer = await self._sessions.costed(states.session_of(obj), name, ended.answer)
            ended = replace(ended, answer=answer)
        new = states.ended(status, ended, trace.records.steps, trace.ended_at, self._reporter.moment(obj))
        new = self._going.with_mcp_servers(obj, new, trace.records.stdout, secrets)
        message = ended.message
        if ended.left_out:
            lost = f"the status has not all of the answer: {'; '.join(ended.left_out)}; {self._whole(obj)}"
            message = f"{message}; {lost}"
            self._notifier.tell(obj, "AnswerIncomplete", lost, warning=True)
        await self._conclude(obj, new, ended.reason, message)
        return None

    async def _stop(self, obj: Object, problem: Refused | Waiting) -> float | None:
        """Refused: the end. Waiting: say for what, and end it when it has taken too long."""
        status = obj.get("status") or {}
        if status.get("node") not in (None, "", self._settings.node):  # another operator has taken it up meanwhile
            return None
        moment = self._reporter.moment(obj)
        if isinstance(problem, Refused):
            message = refusal.as_outcome(problem)
            await self._conclude(obj, states.disallowed(status, problem, moment), problem.reason, message)
            return None
        if problem.reason is Reason.Queued:
            await self._queue(obj, status, problem)
            return problem.delay
        waited, bound = states.waited(status, moment), self._entry.bound(obj)
        if waited >= bound:
            await self._give_up(obj, f"gave up after {duration.format(bound)} ({problem.reason}): {problem.message}")
            return None
        if problem.reason != states.reason_of(status):
            self._notifier.tell(obj, problem.reason, problem.message, warning=problem.reason is not Reason.Pulling)
        await self._reporter.write(obj, states.at(status, problem.reason, problem.message, moment))
        # Most troubles are over at once: look again soon, and less often the longer it takes.
        return max(min(problem.delay, max(waited, 0.5), bound - waited), 0.1)

    async def _queue(self, obj: Object, status: Status, problem: Waiting) -> None:
        """Who stands in this node's line is this node's, and is told its place once: it changes with each start."""
        if isinstance(problem, InLine):
            if states.is_in_line(status):
                return
            status = {**status, "node": self._settings.node}
        await self._reporter.at(obj, status, problem.reason, problem.message)

    async def _give_up(self, obj: Object, message: str) -> None:
        """The wait took too long. An attempt that has ended meanwhile, as its record says, has its own outcome."""
        status = obj.get("status") or {}
        if status.get("attempts"):
            attempt = status["attempts"][-1]
            now = self._reporter.moment(obj).now
            trace = await attempts.look_without_podman(self._out(obj), attempt, self._given(obj), now)
            if trace.records.end is not None:
                await self._finish(obj, trace)
                return
        await self._conclude(obj, status, Reason.TimedOut, message)

    async def _conclude(self, obj: Object, status: Status, reason: Reason, message: str) -> None:
        """End the run at `reason`, with all else that `status` tells; then what it needs no more goes."""
        everything = self._whole(obj) if status.get("attempts") else ""
        await self._endings.conclude(obj, status, reason, message, everything)
        self._entry.forget(obj["metadata"]["uid"])
        self._forget(states.session_of(obj))
        await self._endings.leave(obj)

    async def _give_up_attempt(self, obj: Object, given_up: _GivenUp) -> Object:
        """An attempt that never sent its prompt: note it and make room for the next."""
        status = obj["status"]
        moment = self._reporter.moment(obj)
        code = None if given_up.trace.state is None else given_up.trace.state.exit_code
        if not states.is_kept(obj):
            await self._cleaner.start_over(obj["metadata"]["uid"])
        new = states.given_up(status, given_up.reason, given_up.message, moment, code, given_up.trace.ended_at)
        return await self._reporter.write(obj, new)

    async def _look(self, obj: Object) -> Trace:
        attempt, now = obj["status"]["attempts"][-1], self._reporter.moment(obj).now
        marks = self._launcher.marks(states.session_of(obj))
        return await attempts.look(self._podman, self._out(obj), attempt, marks, self._given(obj), now)

    def _whole(self, obj: Object) -> str:
        """Where everything is that the agent answered."""
        file = self._out(obj) / "stdout"
        return f"until the run is deleted, the CLI's output is in {file} on node {self._settings.node}"

    def _out(self, obj: Object) -> Path:
        return self._launcher.out(*_place(obj))

    def _given(self, obj: Object) -> Secrets:
        return self._launcher.given(*_place(obj))

    async def _look_again(self, obj: Object) -> float | None:
        """A write lost a race: what is there now decides."""
        meta = obj["metadata"]
        await runs.read(self._cluster, self._store, meta["uid"], meta["namespace"], meta["name"])
        return 0.0


def _subject(obj: Mapping[str, Any], number: int) -> Subject:
    meta = obj["metadata"]
    return Subject(uid=meta["uid"], namespace=meta["namespace"], name=meta["name"], number=number)


def _place(obj: Mapping[str, Any]) -> tuple[str, str, int]:
    """The last attempt: its session, its run, its number."""
    return states.session_of(obj), obj["metadata"]["uid"], obj["status"]["attempts"][-1]["number"]


def _withheld(names: Sequence[str]) -> str:
    return (
        f"the image sets {', '.join(names)}, by which the Claude CLI's own runtime would load other code, wait for a "
        "debugger or end: neither the CLI nor what it starts gets this; hooks do"
    )
