"""One turn of one run: observe, decide, perform, report. The page that joins the rooms.

A turn reads what is there (the run's status, the node, the policies), does the next thing, writes the status if
it changed, and says when it wants to be called again. It may be killed between any two lines: the next turn,
of this process or of another, finds the same things there and goes on. What must not happen twice is guarded
by marks on disk and by the write-ahead in `_launch`, never by memory.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stromboli import naming
from stromboli.errors import ClusterUnavailable, LocalFailure, PodmanError, PodmanUnavailable
from stromboli.grammar import duration
from stromboli.kube.client import Cluster, Conflict, Rejected
from stromboli.models.reasons import AllowedReason, Reason
from stromboli.observe import attempts, readiness
from stromboli.observe.attempts import Trace
from stromboli.observe.cli import CLIMounts
from stromboli.observe.images import digest_of
from stromboli.observe.readiness import Readiness, Ready
from stromboli.observe.waiting import Waiting, from_node, from_podman
from stromboli.perform.cleanup import Cleaner
from stromboli.perform.launch import Launcher, Subject
from stromboli.perform.notify import Notifier
from stromboli.plan import follow, outcome, request
from stromboli.plan.attempt import Records, StepRecord
from stromboli.plan.follow import Next
from stromboli.plan.outcome import Outcome
from stromboli.plan.policy import DEFAULT_TIMEOUT
from stromboli.plan.refusal import Refused
from stromboli.podman.transport import Podman
from stromboli.settings import Settings
from stromboli.status import run as states
from stromboli.status import times
from stromboli.status.run import Moment, Status
from stromboli.store import Store

log = logging.getLogger(__name__)

HOOKS_LOOK = 1.0  # seconds between looks at hooks

Object = dict[str, Any]
# Calls back when a container has ended: (run's uid, container's name).
Watch = Callable[[str, str], None]


@dataclass(slots=True)
class _Missing:
    """How often, and since when, a run's supervisors have found no CLI."""

    since: float
    times: int = 0


class Reconciler:
    """Brings one run after the other a step further."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        podman: Podman,
        settings: Settings,
        store: Store,
        looks: Readiness,
        mounts: CLIMounts,
        launcher: Launcher,
        cleaner: Cleaner,
        notifier: Notifier,
        watch: Watch,
        forget: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._podman = podman
        self._settings = settings
        self._store = store
        self._looks = looks
        self._mounts = mounts
        self._launcher = launcher
        self._cleaner = cleaner
        self._notifier = notifier
        self._watch = watch
        self._forget = forget  # that a run's container is watched
        self._bounds: dict[str, float] = {}  # the timeout of runs that were judged; judged anew after a restart
        self._without_cli: dict[str, _Missing] = {}

    async def turn(self, uid: str) -> float | None:
        """One turn; seconds until the next, None for "when something happens"."""
        if self._store.is_deleted(uid):
            await self._cleaner.deleted(uid)
            self._store.forget(uid)
            return None
        obj = self._store.get(uid)
        if obj is None:
            return None
        try:
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
        except (Refused, Waiting) as problem:
            return await self._stop(self._latest(obj), problem)
        except (PodmanError, PodmanUnavailable) as error:
            self._mounts.forget()
            return await self._stop(self._latest(obj), from_podman(error))
        except (LocalFailure, OSError) as error:
            log.warning("%s: %s", _subject(obj, 0).label, error)
            return await self._stop(self._latest(obj), from_node(error))

    async def _begin(self, obj: Object) -> float | None:
        """Nothing has been done for this run yet, or it was waiting."""
        return await self._launch(obj, await self._ready(obj), number=1)

    async def _follow(self, obj: Object) -> float | None:
        """An attempt is written down: see how it is, and go on from there."""
        trace = await self._look(obj)
        decision = follow.decide(trace.seen)
        match decision:
            case Next.watch:
                return await self._going(obj, trace.records)
            case Next.finish:
                return await self._finish(obj, trace)
            case Next.launch:
                return await self._launch(obj, await self._ready(obj), trace.seen.number)
            case Next.mount_and_launch:
                self._mount_again(obj)
                return await self._launch(obj, await self._ready(obj), trace.seen.number)
            case Next.try_again:
                return await self._try_again(obj, trace)

    def _mount_again(self, obj: Object) -> None:
        """The supervisor found no CLI. Once that is a mount that went away; again and again it is the image."""
        missing = self._without_cli.setdefault(obj["metadata"]["uid"], _Missing(time.monotonic()))
        missing.times += 1
        self._mounts.forget()
        if missing.times % 3:
            return
        message = (
            "the Claude CLI is mounted, but there is no program at its place; an administrator checks cli.image and "
            "cli.path of the AgentPolicy"
        )
        bound = self._bound(obj)
        if time.monotonic() - missing.since >= bound:  # each start has ended the wait that the status tells of
            raise Refused(Reason.TimedOut, f"waited {duration.format(bound)} in vain: {message}")
        raise Waiting(Reason.CLIImageUnavailable, message, 10.0)

    async def _ready(self, obj: Object) -> Ready:
        """Before each start: judged by today's policies, and everything there."""
        try:
            judged = await readiness.judge(self._cluster, self._settings, obj)
            self._bounds[obj["metadata"]["uid"]] = judged.request.timeout
            return await self._looks.of(obj, judged)
        except ClusterUnavailable as error:
            # It may be one Secret that may not be read; if it is the whole API server, saying so fails as well.
            raise Waiting(Reason.WaitingForReference, str(error)) from error

    async def _launch(self, obj: Object, ready: Ready, number: int) -> float | None:
        """The folder, the write-ahead, the start: in this order, an attempt can only ever run once.

        An attempt in the status whose folder is missing has lost its marks, and counts as sent.
        """
        subject = _subject(obj, number)
        await self._launcher.prepare(subject, ready)
        obj = await self._report(obj, self._written_ahead(obj, ready, subject))
        name = await self._launcher.launch(subject, ready)
        self._notifier.tell(obj, "Started", f"started container {name} of image {ready.image.id[:12]}")
        if ready.judged.request.hooks:
            return await self._at_hooks(obj, ())
        return await self._at_work(obj, obj["status"])

    async def _going(self, obj: Object, found: Records) -> float | None:
        """The container runs: hooks first, where there are any, and then the agent."""
        if not found.sent and (found.steps or states.reason_of(obj["status"]) == Reason.RunningHooks):
            return await self._at_hooks(obj, found.steps)
        return await self._at_work(obj, states.with_steps(obj["status"], found.steps))

    async def _at_hooks(self, obj: Object, steps: Sequence[StepRecord]) -> float:
        """Nobody tells when a hook is over: so it is looked at now and then."""
        self._watch_over(obj)
        status = states.with_steps(obj["status"], steps)
        message = "the hooks of lifecycle run"
        if steps:
            message = f"{steps[-1].hook}[{steps[-1].index}] runs"
        await self._report(obj, states.at(status, Reason.RunningHooks, message, self._moment(obj)))
        return HOOKS_LOOK

    async def _at_work(self, obj: Object, status: Status) -> float | None:
        self._watch_over(obj)
        if states.reason_of(status) != Reason.Running:
            await self._report(obj, states.at(status, Reason.Running, "the agent is at work", self._moment(obj)))
        return None

    def _watch_over(self, obj: Object) -> None:
        self._watch(obj["metadata"]["uid"], obj["status"]["attempts"][-1]["container"])

    async def _finish(self, obj: Object, trace: Trace) -> float | None:
        """The attempt has ended: judge it, write it down, take its container away."""
        status = obj["status"]
        attempt = status["attempts"][-1]
        moment = self._moment(obj)
        ended = outcome.of(
            trace.records,
            container_exit=None if trace.state is None else trace.state.exit_code,
            oom=trace.state is not None and trace.state.oom_killed,
            timeout=duration.parse(attempt["timeout"]),
            elapsed=_elapsed(attempt, trace),
        )
        new = states.with_attempt(status, _closed(attempt, ended, trace, moment))
        new = states.with_outcome(new, ended, trace.records.steps)
        await self._conclude(obj, new, ended.reason, ended.message)
        return None

    async def _stop(self, obj: Object, problem: Refused | Waiting) -> float | None:
        """Refused: the end. Waiting: say for what, and end it when it has taken too long."""
        status = obj.get("status") or {}
        moment = self._moment(obj)
        if isinstance(problem, Refused):
            await self._conclude(obj, _disallowed(status, problem, moment), problem.reason, problem.message)
            return None
        waited, bound = states.waited(status, moment), self._bound(obj)
        if waited >= bound:
            await self._give_up(obj, f"waited {duration.format(bound)} in vain ({problem.reason}): {problem.message}")
            return None
        if problem.reason != states.reason_of(status):
            self._notifier.tell(obj, problem.reason, problem.message, warning=problem.reason is not Reason.Pulling)
        await self._report(obj, states.at(status, problem.reason, problem.message, moment))
        # Most troubles are over at once: look again soon, and less often the longer it takes.
        return max(min(problem.delay, max(waited, 0.5), bound - waited), 0.1)

    async def _give_up(self, obj: Object, message: str) -> None:
        """The wait took too long. An attempt that has ended meanwhile, as its record says, has its own outcome."""
        status = obj.get("status") or {}
        if status.get("attempts"):
            attempt = status["attempts"][-1]
            trace = await attempts.look_without_podman(self._out(obj), attempt)
            if trace.records.end is not None:
                await self._finish(obj, trace)
                return
        await self._conclude(obj, status, Reason.TimedOut, message)

    async def _conclude(self, obj: Object, status: Status, reason: Reason, message: str) -> None:
        """End the run at `reason`, with all else that `status` tells; then what it needs no more goes."""
        try:
            await self._report(obj, states.at(status, reason, message, self._moment(obj)))
        except Rejected as error:
            log.warning("%s: its answer is left out of its status: %s", _subject(obj, 0).label, error)
            message = f"{message}; the answer could not be written down: {error}"
            bare = {k: v for k, v in status.items() if k not in ("result", "usage", "steps")}
            await self._report(obj, states.at(bare, reason, message, self._moment(obj)))
        self._bounds.pop(obj["metadata"]["uid"], None)
        self._without_cli.pop(obj["metadata"]["uid"], None)
        self._forget(obj["metadata"]["uid"])
        self._notifier.tell(obj, reason, message, warning=reason.status == "False")
        try:
            await self._cleaner.finished(obj["metadata"]["uid"])
        except (PodmanError, PodmanUnavailable) as error:
            log.warning("%s: what it leaves behind is left to the sweep: %s", _subject(obj, 0).label, error)

    async def _try_again(self, obj: Object, trace: Trace) -> float | None:
        """The next attempt, once everything for it is there; not before that is the last one given up."""
        ready = await self._ready(obj)
        number = trace.seen.number + 1
        await self._launcher.prepare(_subject(obj, number), ready)
        return await self._launch(await self._give_up_attempt(obj, trace), ready, number)

    async def _give_up_attempt(self, obj: Object, trace: Trace) -> Object:
        """An attempt that never sent its prompt: note it and make room for the next."""
        status = obj["status"]
        moment = self._moment(obj)
        lost = Outcome(Reason.ContainerLost, "", None, None if trace.state is None else trace.state.exit_code)
        await self._cleaner.finished(obj["metadata"]["uid"])
        message = "the attempt was cut short before the prompt was sent; it is tried again"
        new = states.with_attempt(status, _closed(status["attempts"][-1], lost, trace, moment))
        return await self._report(obj, states.at(new, Reason.Starting, message, moment))

    async def _look(self, obj: Object) -> Trace:
        attempt = obj["status"]["attempts"][-1]
        marks = self._launcher.marks(obj["metadata"]["uid"])
        return await attempts.look(self._podman, self._out(obj), attempt, marks)

    def _out(self, obj: Object) -> Path:
        return self._launcher.out(obj["metadata"]["uid"], obj["status"]["attempts"][-1]["number"])

    async def _look_again(self, obj: Object) -> float | None:
        """A write lost a race: what is there now decides."""
        meta = obj["metadata"]
        found = await self._cluster.run(meta["namespace"], meta["name"])
        if found is None or found["metadata"]["uid"] != meta["uid"]:
            self._store.delete(meta["uid"])
        else:
            self._store.put(found)
        return 0.0

    async def _report(self, obj: Object, new: Status) -> Object:
        """Write the status, if it changed."""
        if new == (obj.get("status") or {}):
            return obj
        written = await self._cluster.write_status(obj, new)
        self._store.put(written)
        return written

    def _written_ahead(self, obj: Object, ready: Ready, subject: Subject) -> Status:
        moment = self._moment(obj)
        policy = ready.judged.policy
        reason, message = AllowedReason.Allowed, "every policy allows the image"
        if not policy.allowlists:
            reason, message = (
                AllowedReason.NoAllowlist,
                "no policy restricts images; an administrator should set one",
            )
            self._notifier.warn_of_no_allowlist(obj)
        status = states.allowed(obj.get("status") or {}, reason, message, moment)
        status = states.with_images(status, *_images(ready))
        attempt = {
            "number": subject.number,
            "container": naming.container(subject.uid),
            "bootID": attempts.boot_id(),
            "timeout": duration.format(ready.judged.request.timeout),
            "startedAt": moment.precise,
        }
        return states.at(
            states.with_attempt(status, attempt), Reason.Starting, "making and starting the container", moment
        )

    def _bound(self, obj: Object) -> float:
        """How long a wait may take; it has to hold for specs and policies that cannot be read, too."""
        if made := (obj.get("status") or {}).get("attempts"):
            return duration.parse(made[-1]["timeout"])
        if (known := self._bounds.get(obj["metadata"]["uid"])) is not None:
            return known
        try:
            return request.timeout_of(readiness.parse(obj), None)
        except Refused:
            return DEFAULT_TIMEOUT

    def _latest(self, obj: Object) -> Object:
        return self._store.get(obj["metadata"]["uid"]) or obj

    def _moment(self, obj: Object) -> Moment:
        return Moment(datetime.now(UTC), self._settings.node, obj["metadata"].get("generation", 0))


def _subject(obj: Mapping[str, Any], number: int) -> Subject:
    meta = obj["metadata"]
    return Subject(uid=meta["uid"], namespace=meta["namespace"], name=meta["name"], number=number)


def _images(ready: Ready) -> tuple[dict[str, Any], dict[str, Any] | None]:
    reference = ready.judged.request.image
    image = {"reference": str(reference), "id": ready.image.id, "digest": digest_of(ready.image, reference)}
    cli = ready.cli
    if cli is None:
        return _given(image), None
    return _given(image), _given({"reference": cli.reference, "id": cli.image_id, "digest": cli.digest})


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in fields.items() if v is not None}


def _closed(attempt: Mapping[str, Any], ended: Outcome, trace: Trace, moment: Moment) -> dict[str, Any]:
    """The attempt's entry, ended: when its container did, as far as anybody knows."""
    finished = trace.state.finished_at if trace.state is not None else None
    closing = {
        "finishedAt": times.to_micro(finished) if finished is not None else moment.precise,
        "exitCode": ended.exit_code,
        "reason": str(ended.reason),
    }
    return {**attempt, **_given(closing)}


def _elapsed(attempt: Mapping[str, Any], trace: Trace) -> float | None:
    """Seconds until the container ended, where Podman knows when that was."""
    if trace.state is None or trace.state.finished_at is None:
        return None
    return (trace.state.finished_at - times.from_text(attempt["startedAt"])).total_seconds()


def _disallowed(status: Mapping[str, Any], problem: Refused, moment: Moment) -> Status:
    """`Allowed` says so too where it was a policy that refused."""
    if problem.reason not in (Reason.ImageNotAllowed, Reason.PolicyViolation):
        return dict(status)
    return states.allowed(status, AllowedReason(problem.reason.value), problem.message, moment)
