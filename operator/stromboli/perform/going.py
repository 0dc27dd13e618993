"""Follows a run whose container is running: watches for its end, and reports its hooks and its agent in its status.

How it is followed is decided in plan/follow.py. The number of writes is bounded: the status is written when a hook
begins or ends, when the message about the agent changes, and at most twice a minute for the time of its last output.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import assert_never

from stromboli import naming
from stromboli.errors import Rejected
from stromboli.event_reasons import EventReason
from stromboli.models.run import Run, RunStatus
from stromboli.naming import ContainerKey
from stromboli.observe.attempts import Trace
from stromboli.perform.launch import Launcher
from stromboli.perform.notify import Notifier
from stromboli.perform.report import Reporter
from stromboli.plan import progress
from stromboli.plan.attempt import Records
from stromboli.plan.follow import EndAttempt, FollowAgent, FollowEnd, FollowHooks
from stromboli.plan.redaction import KEYS, Secrets
from stromboli.reasons import Reason
from stromboli.status import run as run_status

log = logging.getLogger(__name__)

REJECTED_RECHECK = 30.0  # seconds between checks of a run whose status the API server rejects

# Watches for a container's end: (the container, UID of the run to wake, seconds after which to wake it in any case).
Watch = Callable[[ContainerKey, str, float], None]

_NOTHING = Records(started=False, sent=False, steps=(), end=None, stdout=b"", stderr_tail="")


class Going:
    """Follows runs from their start to their end. Each call returns the seconds until the next, None for "when
    something happens", and raises Conflict, Rejected, ClusterUnavailable.
    """

    def __init__(self, launcher: Launcher, reporter: Reporter, notifier: Notifier, watch: Watch) -> None:
        self._launcher = launcher
        self._reporter = reporter
        self._notifier = notifier
        self._watch = watch

    async def started(self, run: Run, said: FollowHooks | FollowAgent) -> float | None:
        """Its container has just been started, and has no records yet."""
        return await self._report(run, said, _NOTHING, KEYS)

    async def follow(self, run: Run, trace: Trace, said: FollowHooks | FollowAgent | EndAttempt) -> float | None:
        """Its container was seen running. If the API server rejects the status, the container runs on.

        Raises PodmanError, PodmanUnavailable if the container should be ended and cannot be.
        """
        if isinstance(said, EndAttempt):
            await self._launcher.end(said.container, said.signal)
            return await self._followed(run, trace, said.then)
        return await self._followed(run, trace, said)

    async def _followed(self, run: Run, trace: Trace, said: FollowHooks | FollowAgent | FollowEnd) -> float | None:
        self._launcher.take_back(run.session_uid)
        try:
            return await self._report(run, said, trace.records, trace.secrets)
        except Rejected as error:
            log.warning("%s: its progress cannot be written to its status: %s", run.label, error)
            return REJECTED_RECHECK

    async def _report(
        self, run: Run, said: FollowHooks | FollowAgent | FollowEnd, records: Records, secrets: Secrets
    ) -> float | None:
        """`secrets` are those that the attempt was given: none of them gets into the status."""
        until = said.again if isinstance(said, FollowEnd) else said.until
        self._watch(naming.agent(run.session_uid), run.uid, until)
        match said:
            case FollowEnd():
                status = run_status.with_steps(run.status, records.steps)
                await self._reporter.at(run, status, Reason.Canceling, said.message)
                return said.again
            case FollowHooks():
                status = run_status.with_steps(run.status, records.steps)
                await self._reporter.at(run, status, Reason.RunningHooks, said.message)
                return said.again
            case FollowAgent():
                if said.quiet == 0:
                    await self._at_work(run, records, secrets)
                    return said.until if run.progress_timeout is not None else None
                return said.quiet
            case _:
                assert_never(said)

    async def _at_work(self, run: Run, records: Records, secrets: Secrets) -> None:
        status = run_status.with_steps(run.status, records.steps)
        status = with_mcp_servers(self._notifier, run, status, records.stdout, secrets)
        status = run_status.with_output(status, records.written_at)
        failing = progress.retry(records.stdout)
        message = progress.at_work(failing)
        if failing is not None and message != status.message:
            self._notifier.emit(run, EventReason.RequestsFail, message)
        await self._reporter.at(run, status, Reason.Running, message)


def with_mcp_servers(notifier: Notifier, run: Run, status: RunStatus, output: bytes, secrets: Secrets) -> RunStatus:
    """The status with the MCP servers' states, once the CLI has reported them; failed ones also get an event."""
    servers = progress.mcp_servers(output, status.mcp_servers, secrets)
    new = run_status.with_mcp_servers(status, servers) if servers else status
    if new != status and (failed := progress.servers_failed(servers)) is not None:
        notifier.emit(run, EventReason.MCPServerFailed, failed)
    return new
