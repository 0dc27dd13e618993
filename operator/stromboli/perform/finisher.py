"""Finishes an attempt that has ended: judges it, and ends the run or has another attempt follow."""

from __future__ import annotations

import logging

from stromboli.errors import Rejected
from stromboli.event_reasons import EventReason
from stromboli.models.run import Run, RunStatus
from stromboli.observe.attempts import Trace
from stromboli.observe.traces import Traces
from stromboli.perform.endings import Endings
from stromboli.perform.entry import Entry
from stromboli.perform.going import with_mcp_servers
from stromboli.perform.judge import Judge
from stromboli.perform.notify import Notifier
from stromboli.perform.report import Reporter
from stromboli.plan import retry, stopped
from stromboli.plan.follow import Cancel, Finish
from stromboli.plan.retry import Again
from stromboli.reasons import Reason
from stromboli.status import run as run_status

log = logging.getLogger(__name__)


class Finisher:
    """Finishes attempts and runs."""

    def __init__(
        self,
        traces: Traces,
        judge: Judge,
        endings: Endings,
        reporter: Reporter,
        notifier: Notifier,
        entry: Entry,
    ) -> None:
        self._traces = traces
        self._judge = judge
        self._endings = endings
        self._reporter = reporter
        self._notifier = notifier
        self._entry = entry

    async def finish(self, run: Run, trace: Trace, said: Finish) -> float | None:
        """The attempt has ended: judge it, and write the end and remove its container, or have another one follow.

        Returns the seconds until that, None if none follows. Raises as `conclude`.
        """
        ended = await self._judge.ended(run, trace, said)
        ended = stopped.judged(run, ended, trace.records, said.ended_at)
        moment = self._reporter.moment(run)
        new = run_status.ended(run.status, ended, trace.records.steps, said.ended_at, moment)
        new = with_mcp_servers(self._notifier, run, new, trace.records.stdout, trace.secrets)
        new = run_status.with_output(new, trace.records.written_at, exactly=True)
        if (again := retry.decide(run, ended, moment.now)) is not None:
            return await self._again(run, new, again)
        message = ended.message
        if ended.left_out:
            lost = f"the status does not hold all of the answer: {'; '.join(ended.left_out)}; {self._whole(run)}"
            message = f"{message}; {lost}"
            self._notifier.emit(run, EventReason.AnswerIncomplete, lost)
        await self.conclude(run, new, ended.reason, message)
        return None

    async def _again(self, run: Run, status: RunStatus, again: Again) -> float:
        """Another attempt follows: write that, and leave everything as it is for it. An answer that the object has no
        room for is left out. Raises Conflict, Rejected, ClusterUnavailable.
        """
        moment = self._reporter.moment(run)
        new = run_status.retrying(status, again.at, again.message, moment)
        try:
            await self._reporter.write(run, new)
        except Rejected as error:
            log.warning("%s: the answer of an attempt is left out of its status: %s", run.label, error)
            await self._reporter.write(run, run_status.without_outcome(new))
        self._notifier.emit_reason(run, Reason.Retrying, again.message, warning=True)
        self._endings.rest(run)
        self._entry.rests(run.uid)
        return max((again.at - moment.now).total_seconds(), 0.0)

    async def cancel(self, run: Run, said: Cancel) -> None:
        """End the run's container, and only then write that it was canceled.

        Raises as `conclude`, and PodmanError, PodmanUnavailable.
        """
        new = run.status
        if run.status.attempts:
            await self._endings.cut_off(run)
            if not run.status.is_between_attempts:
                new = run_status.closed(run.status, said.reason, said.sent, self._reporter.moment(run))
        await self.conclude(run, new, said.reason, said.message)

    async def step_aside(self, run: Run) -> None:
        """The run is held back: before its first attempt, others may have its session. Raises as that of Endings."""
        if not run.status.attempts:
            await self._endings.step_aside(run)

    async def conclude(self, run: Run, status: RunStatus, reason: Reason, message: str) -> None:
        """End the run with `reason` and this `status`. Raises Conflict, ClusterUnavailable."""
        everything = self._whole(run) if status.attempts else ""
        await self._endings.conclude(run, status, reason, message, everything)
        self._entry.forget(run.uid)
        self._traces.forget(run.uid)
        await self._endings.leave(run)

    def _whole(self, run: Run) -> str:
        """A clause that says where the agent's whole output is."""
        return f"until the run is deleted, `stromboli logs {run.name} -n {run.namespace} --raw` shows all of it"
