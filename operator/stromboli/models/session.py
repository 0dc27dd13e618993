"""An AgentSession as it was read from the cluster. What may be written into one is in agentsession.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Self

from stromboli.models.objects import (
    NOTHING,
    Object,
    Resource,
    Status,
    condition,
    fields,
    identity,
    moment,
    number,
    text,
)
from stromboli.reasons import SessionCondition


@dataclass(frozen=True, slots=True)
class Holder:
    """The run that has a session's turn, or is before another in its queue."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Origin:
    """The session that another is a fork of, as its spec says from its creation on."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class CopiedFrom:
    """Where a fork came from once it was copied: the conversation that it goes on from, None where it has none."""

    conversation: str | None


@dataclass(frozen=True, slots=True)
class SessionStatus(Status):
    """What there is of a session. `reason` is that of `Ready`, empty before the first; `size` is in bytes.

    `has_conditions` says that an operator has looked at it before.
    """

    reason: str = ""
    has_conditions: bool = False
    node: str = ""
    holder: Holder | None = None
    conversation: str = ""
    image: str = ""
    copied_from: CopiedFrom | None = None
    last_used: datetime | None = None
    size: int | None = None

    @classmethod
    def of(cls, wire: Mapping[str, Any] | None) -> Self:
        """The typed view. Raises nothing."""
        wire = wire or NOTHING
        run, came = fields(wire.get("currentRun")), fields(wire.get("forkedFrom"))
        return cls(
            wire=wire,
            reason=text(condition(wire, SessionCondition.Ready).get("reason")),
            has_conditions=bool(wire.get("conditions")),
            node=text(wire.get("node")),
            holder=Holder(text(run.get("name")), text(run.get("uid"))) if run else None,
            conversation=text(wire.get("claudeSessionID")),
            image=text(wire.get("imageID")),
            copied_from=CopiedFrom(text(came.get("claudeSessionID")) or None) if came else None,
            last_used=moment(wire.get("lastUsed")),
            size=number(wire["sizeBytes"]) if "sizeBytes" in wire else None,
        )

    def is_held_by(self, run_uid: str) -> bool:
        """Whether the session's turn is that run's."""
        return self.holder is not None and self.holder.uid == run_uid


@dataclass(frozen=True, slots=True)
class Session(Resource):
    """An AgentSession. `parent` is the name of the one that it is to be a copy of, empty for none; `ttl` is the
    duration after its last use after which it is deleted, as it was written, None for never.
    """

    KIND: ClassVar[str] = "AgentSession"

    status: SessionStatus
    parent: str
    ttl: str | None

    @classmethod
    def of(cls, head: Object, spec: Mapping[str, Any], status: SessionStatus) -> Session:
        """The object with that metadata."""
        return cls(
            **identity(head),
            spec=spec,
            status=status,
            parent=text(fields(spec.get("forkedFrom")).get("name")),
            ttl=text(spec.get("ttlAfterLastUse")) or None,
        )
