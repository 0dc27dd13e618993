"""A run whose container is running: its end is watched for, and its status follows its hooks and its agent.

What is written down is bounded: a hook that begins or ends, and a word that changes about the agent's work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from stromboli.grammar import times
from stromboli.observe.attempts import Trace
from stromboli.perform.notify import Notifier
from stromboli.perform.report import Reporter
from stromboli.plan import follow, progress
from stromboli.plan.attempt import StepRecord
from stromboli.plan.redaction import Secrets
from stromboli.reasons import Reason
from stromboli.status import run as states
from stromboli.status.run import Status

HOOKS_LOOK = 1.0  # seconds between looks at hooks
# Seconds from the write-ahead after which a run is said to be at work: nobody sees one that is over at once, and
# writing it would cost time just when the CLI starts.
AT_WORK_AFTER = 0.7

Object = dict[str, Any]
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

    async def started(self, obj: Object, until: float, *, hooks: bool) -> float | None:
        """The container has just been started. It may run for `until` seconds; hooks come first where there are any."""
        if hooks:
            return await self._at_hooks(obj, (), until)
        return await self._at_work(obj, obj["status"], until)

    async def look(self, obj: Object, trace: Trace, secrets: Secrets) -> float | None:
        """The container was seen running. Nothing of `secrets`, which the attempt was given, goes into the status."""
        found, until = trace.records, follow.next_look(trace.seen)
        if not found.sent and (found.steps or states.reason_of(obj["status"]) == Reason.RunningHooks):
            return await self._at_hooks(obj, found.steps, until)
        status = states.with_steps(obj["status"], found.steps)
        status = self.with_mcp_servers(obj, status, found.stdout, secrets)
        return await self._at_work(obj, status, until, progress.retry(found.stdout))

    def with_mcp_servers(self, obj: Object, status: Status, output: bytes, secrets: Secrets) -> Status:
        """How the MCP servers fared, once the CLI has said so; an event for those that the agent works without."""
        servers = progress.mcp_servers(output, states.mcp_servers_of(status), secrets)
        new = states.with_mcp_servers(status, servers) if servers else status
        if new != status and (failed := progress.servers_failed(servers)) is not None:
            self._notifier.tell(obj, "MCPServerFailed", failed, warning=True)
        return new

    async def _at_hooks(self, obj: Object, steps: Sequence[StepRecord], until: float) -> float:
        """Nothing signals the end of a hook, so it is looked for at an interval."""
        self._watch_over(obj, until)
        status = states.with_steps(obj["status"], steps)
        message = "the hooks of lifecycle run"
        if steps:
            message = f"{steps[-1].hook}[{steps[-1].index}] runs"
        await self._reporter.at(obj, status, Reason.RunningHooks, message)
        return HOOKS_LOOK

    async def _at_work(
        self, obj: Object, status: Status, until: float, failing: progress.Retry | None = None
    ) -> float | None:
        began = times.from_text(status["attempts"][-1]["startedAt"])
        spent = (self._reporter.moment(obj).now - began).total_seconds()
        self._watch_over(obj, min(until, progress.next_look(spent)))
        if states.reason_of(status) == Reason.Starting and spent < AT_WORK_AFTER:
            return AT_WORK_AFTER - spent
        message = progress.at_work(failing)
        if failing is not None and message != states.message_of(status):
            self._notifier.tell(obj, "RequestsFail", message, warning=True)
        await self._reporter.at(obj, status, Reason.Running, message)
        return None

    def _watch_over(self, obj: Object, until: float) -> None:
        """Learn of the container's end, or that it has not come in `until` seconds."""
        self._watch(states.session_of(obj), obj["status"]["attempts"][-1]["container"], obj["metadata"]["uid"], until)
