"""An AgentSession as it was read from the cluster. Its fields and their rules are in agentsession.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Self, TypeVar

from stromboli.models.agentsession import ServiceHealth, ServiceState
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
from stromboli.reasons import SessionCondition

E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class RunRef:
    """A run that a session names: the current one, which holds it."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Origin:
    """The session that another one is a fork of, as in its spec from its creation on."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class CopiedFrom:
    """The origin of a fork that has been copied: the conversation that it continues, None if there is none."""

    conversation: str | None


@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """A service of the session's stack. `image` is empty if it is built; `message` says why it is not ready."""

    name: str
    image: str = ""
    digest: str | None = None
    state: ServiceState = ServiceState.pending
    health: ServiceHealth = ServiceHealth.none
    ready: bool = False
    restarts: int = 0
    started: datetime | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class SessionStatus(Status):
    """The state of a session. `reason` is that of `Ready`, empty if there is none yet; `size` is in bytes.

    `has_conditions` means that an operator has processed it before.
    """

    reason: str = ""
    has_conditions: bool = False
    node: str = ""
    current_run: RunRef | None = None
    conversation: str = ""
    image: str = ""
    copied_from: CopiedFrom | None = None
    last_used: datetime | None = None
    size: int | None = None
    services: tuple[ServiceEntry, ...] = ()

    @classmethod
    def of(cls, wire: Mapping[str, Any] | None) -> Self:
        """The typed view. Never raises."""
        wire = wire or NOTHING
        run, came = fields(wire.get("currentRun")), fields(wire.get("forkedFrom"))
        return cls(
            wire=wire,
            reason=text(condition(wire, SessionCondition.Ready).get("reason")),
            has_conditions=bool(wire.get("conditions")),
            node=text(wire.get("node")),
            current_run=RunRef(text(run.get("name")), text(run.get("uid"))) if run else None,
            conversation=text(wire.get("claudeSessionID")),
            image=text(wire.get("imageID")),
            copied_from=CopiedFrom(text(came.get("claudeSessionID")) or None) if came else None,
            last_used=moment(wire.get("lastUsed")),
            size=number(wire["sizeBytes"]) if "sizeBytes" in wire else None,
            services=tuple(map(_service, entries(wire.get("services")))),
        )

    def is_held_by(self, run_uid: str) -> bool:
        """Whether that run holds the session."""
        return self.current_run is not None and self.current_run.uid == run_uid


@dataclass(frozen=True, slots=True)
class Session(Resource):
    """An AgentSession. `parent` is the name of the session that it is a fork of, empty if it is none; `ttl` is how long
    after its last use it is deleted, in API form, None for never.
    """

    KIND: ClassVar[str] = "AgentSession"

    status: SessionStatus
    parent: str
    ttl: str | None

    @classmethod
    def of(cls, head: Object, spec: Mapping[str, Any], status: SessionStatus) -> Session:
        """The session with that metadata."""
        return cls(
            **identity(head),
            spec=spec,
            status=status,
            parent=text(fields(spec.get("forkedFrom")).get("name")),
            ttl=text(spec.get("ttlAfterLastUse")) or None,
        )


def _service(wire: Mapping[str, Any]) -> ServiceEntry:
    return ServiceEntry(
        name=text(wire.get("name")),
        image=text(wire.get("image")),
        digest=text(wire.get("digest")) or None,
        state=_one_of(ServiceState, wire.get("state"), ServiceState.pending),
        health=_one_of(ServiceHealth, wire.get("health"), ServiceHealth.none),
        ready=wire.get("ready") is True,
        restarts=number(wire.get("restarts")),
        started=moment(wire.get("startedAt")),
        message=text(wire.get("message")),
    )


def _one_of(known: type[E], value: object, default: E) -> E:
    return next((one for one in known if one == value), default)
