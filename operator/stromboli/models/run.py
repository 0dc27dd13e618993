"""An AgentRun as it was read from the cluster. Its fields and their rules are in agentrun.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar

from stromboli.errors import InvalidInput
from stromboli.grammar import duration
from stromboli.models.agentrun import PromptSent
from stromboli.models.fields import MAX_TIMEOUT
from stromboli.models.objects import (
    Object,
    Resource,
    Status,
    condition,
    entries,
    fields,
    identity,
    moment,
    number,
    text,
)
from stromboli.reasons import Reason, RunCondition

DEFAULT_GRACE = 10.0  # seconds


@dataclass(frozen=True, slots=True)
class AttemptEntry:
    """An attempt that is recorded in the status.

    `timeout` is in seconds, and the maximum if it is invalid. `started` is None if it is invalid. `reason` is empty and
    `finished` None until the attempt has ended; `sent` then says whether its prompt was sent.
    """

    number: int
    container: str
    boot_id: str
    timeout: float
    started: datetime | None
    finished: datetime | None = None
    reason: str = ""
    sent: str = ""
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class NotificationEntry:
    """What has become of the notification. Before its first attempt, there is none."""

    attempts: int
    next: datetime | None
    delivered: datetime | None

    @property
    def is_over(self) -> bool:
        """Whether it was delivered, or given up."""
        return self.delivered is not None or self.next is None


@dataclass(frozen=True, slots=True)
class SessionEntry:
    """The run's place in the session that it names: the session's name, its UID once the run holds it, a ticket."""

    name: str
    uid: str
    ticket: str


@dataclass(frozen=True)
class RunStatus(Status):
    """The state of a run. Each field is parsed when it is first used, since a status passes through some thirty steps
    in a run's life, most of which use one field. Parsing never raises.
    """

    @cached_property
    def reason(self) -> str:
        """That of `Succeeded`; empty before the first."""
        return text(self._succeeded.get("reason"))

    @cached_property
    def message(self) -> str:
        """That of `Succeeded`; empty before the first."""
        return text(self._succeeded.get("message"))

    @cached_property
    def is_finished(self) -> bool:
        """Whether the run has succeeded or failed."""
        return self._succeeded.get("status") in ("True", "False")

    @cached_property
    def node(self) -> str:
        """The node whose operator processes it; empty if there is none yet."""
        return text(self.wire.get("node"))

    @cached_property
    def first_seen(self) -> str:
        """When the operator first processed it; a timestamp in API form."""
        return text(self.wire.get("startTime"))

    @cached_property
    def waiting_since(self) -> datetime | None:
        """When its current wait began."""
        return moment(self.wire.get("waitingSince"))

    @cached_property
    def next_attempt(self) -> datetime | None:
        """When the next attempt begins, while the run waits for that."""
        return moment(self.wire.get("nextAttemptTime"))

    @cached_property
    def last_output(self) -> datetime | None:
        """When the CLI was last seen to have written something."""
        return moment(self.wire.get("lastOutputTime"))

    @cached_property
    def completed(self) -> datetime | None:
        """When the run ended."""
        return moment(self.wire.get("completionTime"))

    @cached_property
    def attempts(self) -> tuple[AttemptEntry, ...]:
        """Its attempts, oldest first."""
        return tuple(map(_attempt, entries(self.wire.get("attempts"))))

    @cached_property
    def session(self) -> SessionEntry | None:
        """Its place in the session that it names."""
        return _session(fields(self.wire.get("session")))

    @cached_property
    def notification(self) -> NotificationEntry | None:
        """What has become of the notification of its end; None before the first attempt at it."""
        found = fields(self.wire.get("notification"))
        if not found:
            return None
        delivered, following = moment(found.get("deliveryTime")), moment(found.get("nextAttemptTime"))
        return NotificationEntry(number(found.get("attempts")), following, delivered)

    @cached_property
    def answer(self) -> str:
        """The agent's last message; empty if there is none, and in an outline."""
        return text(fields(self.wire.get("result")).get("text"))

    @cached_property
    def mcp_servers(self) -> tuple[str, ...]:
        """The names of its MCP servers, as the CLI has reported them."""
        return tuple(text(server.get("name")) for server in entries(self.wire.get("mcpServers")))

    @property
    def is_between_attempts(self) -> bool:
        """Whether its last attempt has ended, and another one is to follow."""
        return not self.is_finished and bool(self.attempts) and self.attempts[-1].reason != ""

    @property
    def is_in_line(self) -> bool:
        """Whether the run is in its node's start queue, for its first attempt or another one. A run that waits for a
        session has no node yet.
        """
        return self.reason == Reason.Queued and self.node != "" and (not self.attempts or self.is_between_attempts)

    @cached_property
    def _succeeded(self) -> Mapping[str, Any]:
        return condition(self.wire, RunCondition.Succeeded)


@dataclass(frozen=True, slots=True)
class Run(Resource):
    """An AgentRun. `session` and `fork` are the names of sessions in its spec, empty if there are none."""

    KIND: ClassVar[str] = "AgentRun"

    status: RunStatus
    session: str
    fork: str

    @classmethod
    def of(cls, head: Object, spec: Mapping[str, Any], status: RunStatus) -> Run:
        """The run with that metadata."""
        choice = fields(spec.get("session"))
        return cls(
            **identity(head),
            spec=spec,
            status=status,
            session=text(choice.get("name")),
            fork=text(choice.get("fork")),
        )

    @property
    def is_whole(self) -> bool:
        """Whether the whole spec is here: each run has a prompt or a reference to one, which outlines leave out."""
        return "prompt" in self.spec or "promptFrom" in self.spec

    @property
    def is_kept(self) -> bool:
        """Whether the run's session outlives it."""
        return self.session != ""

    @property
    def is_canceled(self) -> bool:
        """Whether somebody has asked to stop it for good."""
        return self.spec.get("cancel") is True

    @property
    def is_suspended(self) -> bool:
        """Whether no attempt may be started for now."""
        return self.spec.get("suspend") is True

    @property
    def may_resume(self) -> bool:
        """Whether the prompt may have been sent in an attempt that has ended, so that the next one continues it."""
        return any(attempt.reason and attempt.sent != PromptSent.no for attempt in self.status.attempts)

    @property
    def retry_on(self) -> frozenset[str]:
        """The reasons for which another attempt follows although the prompt may have been sent."""
        found = self.spec.get("retryOn")
        return frozenset(each for each in found if isinstance(each, str)) if isinstance(found, list) else frozenset()

    @property
    def backoff_limit(self) -> int | None:
        """How many attempts may follow the first; None if its spec does not say."""
        found = self.spec.get("backoffLimit")
        return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None

    @property
    def grace(self) -> float:
        """Seconds between SIGTERM and SIGKILL."""
        return _duration(self.spec.get("terminationGracePeriod")) or DEFAULT_GRACE

    @property
    def progress_timeout(self) -> float | None:
        """Seconds without output of the CLI after which an attempt is ended; None for no limit."""
        return _duration(self.spec.get("progressTimeout"))

    @property
    def ttl(self) -> int | None:
        """Seconds after its end until it is deleted; None if its spec does not say."""
        found = self.spec.get("ttlSecondsAfterFinished")
        return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None

    @property
    def notify(self) -> Mapping[str, Any]:
        """Whom its end is reported to, in API form; empty for nobody."""
        return fields(self.spec.get("notify"))

    @property
    def awaits_notification(self) -> bool:
        """Whether it has ended, and that is still to be reported."""
        told = self.status.notification
        return self.status.is_finished and bool(self.notify) and (told is None or not told.is_over)

    @property
    def sessions(self) -> tuple[str, ...]:
        """The names of the sessions in whose queues the run is: to run in one, and to copy another."""
        return tuple(filter(None, (self.session, self.fork)))

    @property
    def session_uid(self) -> str:
        """The UID of the session that the run holds: the run's own session has the run's UID."""
        return (self.status.session.uid if self.status.session else "") or self.uid


def _attempt(wire: Mapping[str, Any]) -> AttemptEntry:
    return AttemptEntry(
        number=number(wire.get("number")),
        container=text(wire.get("container")),
        boot_id=text(wire.get("bootID")),
        timeout=_seconds(text(wire.get("timeout"))),
        started=moment(wire.get("startedAt")),
        finished=moment(wire.get("finishedAt")),
        reason=text(wire.get("reason")),
        sent=text(wire.get("promptSent")),
        exit_code=code if isinstance(code := wire.get("exitCode"), int) else None,
    )


def _seconds(written: str) -> float:
    return _duration(written) or MAX_TIMEOUT


def _duration(written: object) -> float | None:
    """Seconds; None if there is no valid duration, which is refused before a start."""
    try:
        return duration.parse(written) if isinstance(written, str) else None
    except InvalidInput:
        return None


def _session(wire: Mapping[str, Any]) -> SessionEntry | None:
    if not wire:
        return None
    return SessionEntry(text(wire.get("name")), text(wire.get("uid")), text(wire.get("ticket")))
