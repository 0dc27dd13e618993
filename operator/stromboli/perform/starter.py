"""Starts a run: once it has passed all gates and has everything that its attempt needs, the attempt is started."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from stromboli.event_reasons import EventReason
from stromboli.models.run import Run
from stromboli.perform.endings import Endings
from stromboli.perform.entry import Admitted, Entry
from stromboli.perform.going import Going
from stromboli.perform.launch import Launcher, Subject
from stromboli.perform.notify import Notifier
from stromboli.perform.report import Reporter
from stromboli.plan import follow, variables
from stromboli.plan.follow import TryAgain
from stromboli.plan.session import hooks_to_run
from stromboli.plan.verdict import Stop
from stromboli.status import run as run_status


class Starter:
    """Starts attempts of runs."""

    def __init__(
        self,
        entry: Entry,
        launcher: Launcher,
        going: Going,
        endings: Endings,
        reporter: Reporter,
        notifier: Notifier,
    ) -> None:
        self._entry = entry
        self._launcher = launcher
        self._going = going
        self._endings = endings
        self._reporter = reporter
        self._notifier = notifier

    async def start(self, run: Run, number: int, given_up: TryAgain | None = None) -> float | Stop | None:
        """Start attempt `number`; returns what stops it, or the seconds until the run's next pass.

        `given_up` is the attempt before this one, if it never sent its prompt. Raises Conflict, Rejected,
        ClusterUnavailable, and the errors in STOPPING of plan/verdict.py.
        """
        async with self._entry.admitted(run) as found:
            if isinstance(found, Admitted):
                return await self._launch(found, number, given_up)
        return found

    async def _launch(self, admitted: Admitted, number: int, given_up: TryAgain | None) -> float | None:
        """Folder, write-ahead, start: in this order, an attempt can never run twice.

        An attempt in the status whose folder is missing has lost its seals, and counts as sent. While the session's
        lock is held, nothing else changes what the session has on the node. Whether session and run still exist is
        checked once it is held: the session by a lookup, the run by the guarded writes.
        """
        run, ready = admitted.run, admitted.ready
        subject = _subject(run, number)
        async with self._entry.holding(admitted) as held:
            await self._launcher.prepare(subject, ready, held)
            if given_up is not None:
                run = await self._noted(run, given_up)
            run = await self._reporter.write_ahead(run, ready, held, number)
            name = await self._launcher.launch(subject, ready, held, partial(self._reporter.check_not_withdrawn, run))
        self._entry.started(subject.uid)
        self._notifier.emit(run, EventReason.Started, f"started container {name} of image {ready.image.id[:12]}")
        if names := variables.withheld(ready.image_env):
            self._notifier.emit(run, EventReason.VariablesWithheld, _withheld(names))
        if skipped := ready.taken.skipped:
            self._notifier.emit(run, EventReason.InvalidEnvironmentVariableNames, "; ".join(skipped))
        if (lost := await self._launcher.unenforced(ready)) is not None:
            self._notifier.emit(run, EventReason.LimitsNotEnforced, lost)
        hooks = bool(hooks_to_run(ready.judged.request.hooks, held.initialized))
        said = follow.begun(run, self._reporter.moment(run).now, hooks=hooks)
        return await self._going.started(run, said)

    async def revoke(self, run: Run) -> None:
        """The last attempt of the run has not begun, and must not. Raises PodmanError, PodmanUnavailable."""
        self._launcher.revoke(run.session_uid)
        await self._endings.cut_off(run)

    async def _noted(self, run: Run, given_up: TryAgain) -> Run:
        """Record that an attempt never sent its prompt, and remove it, so that the next can start."""
        moment = self._reporter.moment(run)
        await self._endings.start_over(run)
        why, code, finished = (given_up.reason, given_up.message), given_up.exit_code, given_up.ended_at
        new = run_status.given_up(run.status, *why, moment, code, finished)
        return await self._reporter.write(run, new)


def _subject(run: Run, number: int) -> Subject:
    return Subject(
        uid=run.uid, namespace=run.namespace, name=run.name, number=number, grace=run.grace, continues=run.may_resume
    )


def _withheld(names: Sequence[str]) -> str:
    return (
        f"the image sets {', '.join(names)}, with which the Claude CLI's own runtime would load other code, wait for a "
        "debugger or exit: neither the CLI nor what it starts gets this; hooks do"
    )
