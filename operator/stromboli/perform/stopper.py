"""Ends a run that may not start or continue, or makes it wait, and writes that into its status."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from stromboli.grammar import duration
from stromboli.models.run import Run
from stromboli.observe.traces import Traces
from stromboli.perform.finisher import Finisher
from stromboli.perform.notify import Notifier
from stromboli.perform.report import Reporter
from stromboli.plan import follow, refusal
from stromboli.plan.follow import Finish, GiveUp, HoldBack, Pause
from stromboli.plan.verdict import LeaveAlone, Refuse, Stop, Wait
from stromboli.reasons import Reason
from stromboli.status import run as run_status


class Stopper:
    """Makes runs wait or end. `bound` is how long a run may wait, in seconds."""

    def __init__(
        self,
        traces: Traces,
        finisher: Finisher,
        reporter: Reporter,
        notifier: Notifier,
        bound: Callable[[Run], float],
    ) -> None:
        self._traces = traces
        self._finisher = finisher
        self._reporter = reporter
        self._notifier = notifier
        self._bound = bound

    async def stop(self, run: Run, said: Stop) -> float | None:
        """Seconds until the next pass, None for "when something happens".

        Raises Conflict, Rejected, ClusterUnavailable, OSError.
        """
        if run.status.node not in ("", self._reporter.node):  # another operator processes it in the meantime
            return None
        match said:
            case Refuse():
                new = run_status.disallowed(run.status, said, self._reporter.moment(run))
                await self._finisher.conclude(run, new, said.reason, refusal.as_outcome(said))
                return None
            case Wait(reason=Reason.Queued):
                await self._queue(run, said)
                return said.delay
            case Wait(reason=Reason.Starting | Reason.StartingServices):
                # for work that is being done for it here, which has its own time limit
                await self._reporter.at(run, run.status, said.reason, said.message)
                return said.delay
            case Wait():
                return await self._wait(run, said)
            case LeaveAlone():
                return None
            case _:
                assert_never(said)

    async def hold_back(self, run: Run, said: HoldBack) -> None:
        """Write that no attempt is started for now. Raises Conflict, Rejected, ClusterUnavailable, PodmanError,
        PodmanUnavailable.
        """
        if run.status.reason == Reason.Suspended:
            return
        await self._finisher.step_aside(run)
        run = await self._reporter.at(self._reporter.latest(run), run.status, Reason.Suspended, said.message)
        self._notifier.emit_reason(run, Reason.Suspended, said.message, warning=False)

    async def pause(self, run: Run, said: Pause) -> float:
        """The run waits for its next attempt; it may have been held back until now. Returns the seconds until then."""
        if run.status.reason == Reason.Suspended:
            message = f"the next attempt begins in {duration.format(said.seconds)}"
            await self._reporter.at(run, run.status, Reason.Retrying, message)
        return said.seconds

    async def _wait(self, run: Run, said: Wait) -> float | None:
        """Write what the run waits for, and end it if it has waited too long."""
        status, moment = run.status, self._reporter.moment(run)
        waited, bound = run_status.waited(status, moment), self._bound(run)
        if waited >= bound:
            await self._out_of_time(run, said, bound)
            return None
        if said.reason != status.reason:
            self._notifier.emit_reason(run, said.reason, said.message, warning=said.reason is not Reason.Pulling)
        await self._reporter.write(run, run_status.at(status, said.reason, said.message, moment))
        # Most problems are short: retry soon, and less often the longer it takes.
        return max(min(said.delay, max(waited, 0.5), bound - waited), 0.1)

    async def _queue(self, run: Run, said: Wait) -> None:
        """Write that the run is queued. A run in this node's line belongs to this node. Its place is written once only,
        since it changes with each start.
        """
        status = run.status
        if said.in_line:
            if status.is_in_line:
                return
            status = run_status.in_line(status, self._reporter.node)
        await self._reporter.at(run, status, said.reason, said.message)

    async def _out_of_time(self, run: Run, waits: Wait, bound: float) -> None:
        """The run has waited too long, possibly for Podman."""
        trace = await self._traces.without_podman(run) if run.status.attempts else None
        now = self._reporter.moment(run).now
        said = follow.out_of_time(run, trace.seen if trace is not None else None, now, waits, bound)
        match said:
            case Finish():
                assert trace is not None
                await self._finisher.finish(run, trace, said)
            case GiveUp():
                await self._finisher.conclude(run, run.status, said.reason, said.message)
            case _:
                assert_never(said)
