"""Finishes a run that has ended: judges its attempt, writes the end, and removes what it no longer needs."""

from __future__ import annotations

from collections.abc import Callable

from stromboli.event_reasons import EventReason
from stromboli.models.agentrun import PromptSent
from stromboli.models.run import Run, RunStatus
from stromboli.observe.attempts import Trace
from stromboli.observe.traces import Traces
from stromboli.perform.endings import Endings
from stromboli.perform.going import with_mcp_servers
from stromboli.perform.judge import Judge
from stromboli.perform.notify import Notifier
from stromboli.perform.report import Reporter
from stromboli.plan.follow import Cancel, Finish
from stromboli.reasons import Reason
from stromboli.status import run as run_status


class Finisher:
    """Finishes runs; `forget` is called with the UID of each that has ended."""

    def __init__(
        self,
        traces: Traces,
        judge: Judge,
        endings: Endings,
        reporter: Reporter,
        notifier: Notifier,
        forget: Callable[[str], None],
    ) -> None:
        self._traces = traces
        self._judge = judge
        self._endings = endings
        self._reporter = reporter
        self._notifier = notifier
        self._forget = forget

    async def finish(self, run: Run, trace: Trace, said: Finish) -> None:
        """The attempt has ended: judge it, write the end, and remove its container. Raises as `conclude`."""
        ended = await self._judge.ended(run, trace, said)
        new = run_status.ended(run.status, ended, trace.records.steps, said.ended_at, self._reporter.moment(run))
        new = with_mcp_servers(self._notifier, run, new, trace.records.stdout, trace.secrets)
        message = ended.message
        if ended.left_out:
            lost = f"the status does not hold all of the answer: {'; '.join(ended.left_out)}; {self._whole(run)}"
            message = f"{message}; {lost}"
            self._notifier.emit(run, EventReason.AnswerIncomplete, lost)
        await self.conclude(run, new, ended.reason, message)

    async def cancel(self, run: Run, said: Cancel) -> None:
        """End the run's container, and only then write that it was cancelled.

        Raises as `conclude`, and PodmanError, PodmanUnavailable.
        """
        await self._endings.cut_off(run)
        new = run_status.closed(run.status, said.reason, PromptSent.unknown, self._reporter.moment(run))
        await self.conclude(run, new, said.reason, said.message)

    async def conclude(self, run: Run, status: RunStatus, reason: Reason, message: str) -> None:
        """End the run with `reason` and this `status`. Raises Conflict, ClusterUnavailable."""
        everything = self._whole(run) if status.attempts else ""
        await self._endings.conclude(run, status, reason, message, everything)
        self._forget(run.uid)
        await self._endings.leave(run)

    def _whole(self, run: Run) -> str:
        """A clause that says where the agent's whole output is."""
        file = self._traces.out(run) / "stdout"
        return f"until the run is deleted, the CLI's output is in {file} on node {self._reporter.node}"
