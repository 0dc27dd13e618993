"""Ends runs: writes the end to the status, even of an object with little space left, emits an event, and cleans up."""

from __future__ import annotations

import logging
from collections.abc import Callable

from stromboli import naming
from stromboli.errors import ClusterUnavailable, PodmanError, PodmanUnavailable, Rejected
from stromboli.models.run import Run, RunStatus
from stromboli.naming import ContainerKey
from stromboli.node.cleanup import Cleaner
from stromboli.perform.notify import Notifier
from stromboli.perform.report import Reporter
from stromboli.perform.sessions.assembly import Parts
from stromboli.perform.stacks.starts import StackStarts
from stromboli.reasons import Reason
from stromboli.status import run as run_status

log = logging.getLogger(__name__)


class Endings:
    """Ends runs."""

    def __init__(
        self,
        reporter: Reporter,
        notifier: Notifier,
        sessions: Parts,
        stacks: StackStarts,
        cleaner: Cleaner,
        unwatch: Callable[[ContainerKey], None],
    ) -> None:
        self._reporter = reporter
        self._notifier = notifier
        self._turns = sessions.turns
        self._forks = sessions.forks
        self._stacks = stacks
        self._cleaner = cleaner
        self._unwatch = unwatch

    async def conclude(self, run: Run, status: RunStatus, reason: Reason, message: str, everything: str) -> None:
        """The run has ended with `reason` and this `status`; `everything` is a clause that says where its output is.

        Raises Conflict, ClusterUnavailable.
        """
        try:
            await self._reporter.at(run, status, reason, message)
        except Rejected as error:
            log.warning("%s: its answer is left out of its status: %s", run.label, error)
            message = f"{message}; the answer could not be written to the status: {error}"
            message = f"{message}; {everything}" if everything else message
            await self._barely(run, status, reason, message)
        self._notifier.emit_reason(run, reason, message, warning=reason.status == "False")

    def rest(self, run: Run) -> None:
        """Another attempt follows later: its container is watched again then, and it is given its own secrets."""
        self._unwatch(naming.agent(run.session_uid))
        self._cleaner.take_back(run.session_uid)

    async def step_aside(self, run: Run) -> None:
        """A run that is held back before its first attempt: what is prepared for it is broken off, and others get its
        turn in its session. Without a session, services that were started for it are removed.

        Raises PodmanError, PodmanUnavailable, ClusterUnavailable, Rejected.
        """
        if run.is_kept:
            await self._forks.break_off(run.uid)
            await self._stacks.break_off(run.uid)
            await self._turns.leave(run)
        elif self._stacks.has(run.uid):
            await self._stacks.forget(run.uid)
            await self._cleaner.finished(run.uid)

    async def leave(self, run: Run) -> None:
        """Remove what an ended run no longer needs: everything of it, or only its turn in a session that stays."""
        self._unwatch(naming.agent(run.session_uid))
        try:
            if run.is_kept:
                await self._forks.break_off(run.uid)
                await self._stacks.break_off(run.uid)
                await self._turns.leave(run)
            else:
                await self._stacks.forget(run.uid)
                await self._cleaner.finished(run.uid)
            await self._cleaner.tidy(run.session_uid, run.uid)
        except (PodmanError, PodmanUnavailable, ClusterUnavailable, Rejected) as error:
            log.warning("%s: not everything of it could be removed; the sweep will retry: %s", run.label, error)

    async def cut_off(self, run: Run) -> None:
        """Ensure that the run's container is not running. Raises PodmanError, PodmanUnavailable if it may be."""
        await self._turns.end(run.session_uid)

    async def start_over(self, run: Run) -> None:
        """Remove everything of an attempt that never sent its prompt, except for what a named session keeps, or a run
        that has been at work before.

        The caller holds the session's lock. Raises PodmanError, PodmanUnavailable.
        """
        if not run.is_kept and not run.may_resume:
            await self._cleaner.start_over(run.uid)

    async def _barely(self, run: Run, status: RunStatus, reason: Reason, message: str) -> None:
        """Write how the run ended, and nothing else. If not even that fits into the object, only the event has it, and
        the run is cleaned up nevertheless.
        """
        try:
            await self._reporter.at(run, run_status.without_outcome(status), reason, message)
        except Rejected as error:
            log.warning("%s has ended (%s), which cannot be written to its status: %s", run.label, reason, error)
