"""An AgentRun as it was read from the cluster. What may be written into one is in agentrun.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from stromboli.errors import InvalidInput
from stromboli.grammar import duration
from stromboli.models.fields import MAX_TIMEOUT
from stromboli.models.objects import (
    NOTHING,
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


@dataclass(frozen=True, slots=True)
class AttemptEntry:
    """An attempt that is written down.

    `timeout` is in seconds; the longest there is where it cannot be read. `started` is None where it cannot be read.
    """

    number: int
    container: str
    boot_id: str
    timeout: float
    started: datetime | None


@dataclass(frozen=True, slots=True)
class SessionEntry:
    """The run's place in the session that it names: the session's name, its UID once the run has it, its ticket."""

    name: str
    uid: str
    ticket: str


@dataclass(frozen=True, slots=True)
class RunStatus(Status):
    """What has become of a run. `reason` and `message` are those of `Succeeded`, empty before the first; `first_seen`
    is a timestamp as it stands on the wire.
    """

    reason: str = ""
    message: str = ""
    is_finished: bool = False
    node: str = ""
    first_seen: str = ""
    waiting_since: datetime | None = None
    attempts: tuple[AttemptEntry, ...] = ()
    session: SessionEntry | None = None
    mcp_servers: tuple[str, ...] = ()

    @classmethod
    def of(cls, wire: Mapping[str, Any] | None) -> RunStatus:
        """The typed view. Raises nothing."""
        wire = wire or NOTHING
        succeeded = condition(wire, RunCondition.Succeeded)
        return cls(
            wire=wire,
            reason=text(succeeded.get("reason")),
            message=text(succeeded.get("message")),
            is_finished=succeeded.get("status") in ("True", "False"),
            node=text(wire.get("node")),
            first_seen=text(wire.get("startTime")),
            waiting_since=moment(wire.get("waitingSince")),
            attempts=tuple(map(_attempt, entries(wire.get("attempts")))),
            session=_session(fields(wire.get("session"))),
            mcp_servers=tuple(text(server.get("name")) for server in entries(wire.get("mcpServers"))),
        )

    @property
    def is_in_line(self) -> bool:
        """Whether the run waits for its start on its node. One that is queued for a session has no node yet."""
        return self.reason == Reason.Queued and self.node != "" and not self.attempts


@dataclass(frozen=True, slots=True)
class Run(Resource):
    """An AgentRun. `session` and `fork` are the names that its spec has of sessions, empty for none."""

    KIND: ClassVar[str] = "AgentRun"

    status: RunStatus
    session: str
    fork: str

    @classmethod
    def of(cls, head: Object, spec: Mapping[str, Any], status: RunStatus) -> Run:
        """The object with that metadata."""
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
        """Whether all of the spec is here: each run has a prompt, or says where it is."""
        return "prompt" in self.spec or "promptFrom" in self.spec

    @property
    def is_kept(self) -> bool:
        """Whether the run's session outlives it."""
        return self.session != ""

    @property
    def sessions(self) -> tuple[str, ...]:
        """The names of the sessions in whose queues the run stands: to run in one, to copy another."""
        return tuple(filter(None, (self.session, self.fork)))

    @property
    def session_uid(self) -> str:
        """The UID of the session that the run has: its own has the run's."""
        return (self.status.session.uid if self.status.session else "") or self.uid


def _attempt(wire: Mapping[str, Any]) -> AttemptEntry:
    return AttemptEntry(
        number=number(wire.get("number")),
        container=text(wire.get("container")),
        boot_id=text(wire.get("bootID")),
        timeout=_seconds(text(wire.get("timeout"))),
        started=moment(wire.get("startedAt")),
    )


def _seconds(written: str) -> float:
    try:
        return duration.parse(written)
    except InvalidInput:
        return MAX_TIMEOUT


def _session(wire: Mapping[str, Any]) -> SessionEntry | None:
    if not wire:
        return None
    return SessionEntry(text(wire.get("name")), text(wire.get("uid")), text(wire.get("ticket")))
