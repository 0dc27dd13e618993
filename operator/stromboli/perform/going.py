"""A run whose container is running: its end is watched for, and its status follows its hooks and its agent.

What is written down is bounded: a hook that begins or ends, and a word that changes about the agent's work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stromboli.models.run import Run, RunStatus
from stromboli.observe.attempts import Trace
from stromboli.perform.notify import Notifier
from stromboli.perform.report import Reporter
from stromboli.plan import follow, progress
from stromboli.plan.attempt import StepRecord
from stromboli.plan.redaction import Secrets
from stromboli.reasons import EventReason, Reason
from stromboli.status import run as states

HOOKS_LOOK = 1.0  # seconds between looks at hooks
# Seconds from the write-ahead after which a run is said to be at work: nobody sees one that is over at once, and
# writing it would cost time just when the CLI starts.
AT_WORK_AFTER = 1.0

# Watches for a container's end: (session's uid, container's name, uid of the run that is woken, seconds after which it
# is woken in any case).
Watch = Callable[[str, str, str, float], None]


class Going:
    """Follows runs from their start to their end. Each call returns the seconds until the next, None for "when
    something happens", and raises Conflict, Rejected, ClusterUnavailable.
    """

    def __init__(self, reporter: Reporter, notifier: Notifier, watch: Watch) -> None:
        self._reporter = reporter
        self._notifier = notifier
        self._watch = watch

    async def started(self, run: Run, until: float, *, hooks: bool) -> float | None:
        """The container has just been started. It may run for `until` seconds; hooks come first where there are any."""
        if hooks:
            return await self._at_hooks(run, (), until)
        return await self._at_work(run, run.status, until)

    async def look(self, run: Run, trace: Trace, secrets: Secrets) -> float | None:
        """The container was seen running. Nothing of `secrets`, which the attempt was given, goes into the status."""
        found, until = trace.records, follow.next_look(trace.seen)
        if not found.sent and (found.steps or run.status.reason == Reason.RunningHooks):
            return await self._at_hooks(run, found.steps, until)
        status = states.with_steps(run.status, found.steps)
        status = self.with_mcp_servers(run, status, found.stdout, secrets)
        return await self._at_work(run, status, until, progress.retry(found.stdout))

    def with_mcp_servers(self, run: Run, status: RunStatus, output: bytes, secrets: Secrets) -> RunStatus:
        """How the MCP servers fared, once the CLI has said so; an event for those that the agent works without."""
        servers = progress.mcp_servers(output, status.mcp_servers, secrets)
        new = states.with_mcp_servers(status, servers) if servers else status
        if new != status and (failed := progress.servers_failed(servers)) is not None:
            self._notifier.emit(run, EventReason.MCPServerFailed, failed)
        return new

    async def _at_hooks(self, run: Run, steps: Sequence[StepRecord], until: float) -> float:
        """Nothing signals the end of a hook, so it is looked for at an interval."""
        self._watch_over(run, until)
        status = states.with_steps(run.status, steps)
        message = "the hooks of lifecycle run"
        if steps:
            message = f"{steps[-1].hook}[{steps[-1].index}] runs"
        await self._reporter.at(run, status, Reason.RunningHooks, message)
        return HOOKS_LOOK

    async def _at_work(
        self, run: Run, status: RunStatus, until: float, failing: progress.Retry | None = None
    ) -> float | None:
        now = self._reporter.moment(run).now
        spent = (now - (status.attempts[-1].started or now)).total_seconds()
        self._watch_over(run, min(until, progress.next_look(spent)))
        if status.reason == Reason.Starting and spent < AT_WORK_AFTER:
            return AT_WORK_AFTER - spent
        message = progress.at_work(failing)
        if failing is not None and message != status.message:
            self._notifier.emit(run, EventReason.RequestsFail, message)
        await self._reporter.at(run, status, Reason.Running, message)
        return None

    def _watch_over(self, run: Run, until: float) -> None:
        """Learn of the container's end, or that it has not come in `until` seconds."""
        self._watch(run.session_uid, run.status.attempts[-1].container, run.uid, until)
