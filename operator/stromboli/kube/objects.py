"""Objects as they stand on the wire → the typed ones that everybody else has, and a session's spec back. Pure.

Nothing here raises for anything that a user can write into a spec or status; metadata comes from the API server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from stromboli.kube import outline
from stromboli.models.agentsession import AgentSessionSpec, SessionTemplate
from stromboli.models.image import AgentImage, ImageStatus
from stromboli.models.objects import NOTHING, Object, Status, fields, identity, number, text
from stromboli.models.policy import Policy
from stromboli.models.run import Run, RunStatus
from stromboli.models.session import Session, SessionStatus

Wire = Mapping[str, Any]
K = TypeVar("K", Run, Session, AgentImage, Policy)


def head(metadata: Wire) -> Object:
    """An object of which only the metadata was read."""
    return Object(
        uid=text(metadata.get("uid")),
        namespace=text(metadata.get("namespace")),
        name=text(metadata.get("name")),
        version=text(metadata.get("resourceVersion")),
        generation=number(metadata.get("generation")),
        created=text(metadata.get("creationTimestamp")),
        deleted=text(metadata.get("deletionTimestamp")) or None,
    )


def run(wire: Wire) -> Run:
    """An AgentRun."""
    return Run.of(head(fields(wire.get("metadata"))), _spec(wire), RunStatus(_status(wire)))


def session(wire: Wire) -> Session:
    """An AgentSession."""
    return Session.of(head(fields(wire.get("metadata"))), _spec(wire), SessionStatus.of(_status(wire)))


def image(wire: Wire) -> AgentImage:
    """An AgentImage."""
    return AgentImage.of(head(fields(wire.get("metadata"))), _spec(wire), ImageStatus.of(_status(wire)))


def policy(wire: Wire) -> Policy:
    """An AgentPolicy."""
    return Policy.of(head(fields(wire.get("metadata"))), _spec(wire), Status.of(_status(wire)))


def another(like: K, wire: Wire) -> K:
    """An object of the same kind as `like`."""
    status = type(like.status).of(_status(wire))
    return type(like).of(head(fields(wire.get("metadata"))), _spec(wire), status)


def with_status(obj: K, metadata: Wire, status: Wire) -> K:
    """An object after a write of its status."""
    return replace(obj, **identity(head(metadata)), status=type(obj.status).of(status))


def with_spec(obj: K, metadata: Wire, spec: Wire) -> K:
    """An object after a write of its spec."""
    return replace(obj, **identity(head(metadata)), spec=spec)


def session_spec(spec: AgentSessionSpec) -> Wire:
    """The spec of a session, for the wire."""
    return spec.model_dump(by_alias=True, exclude_none=True)


def filled(obj: Session, template: SessionTemplate) -> Wire:
    """A session's spec with this template, for the wire; the rest is as it was read."""
    return {**obj.spec, **session_spec(AgentSessionSpec(template=template))}


def kept(obj: Run) -> Run:
    """A run as it is kept in memory: whole if it is small, otherwise its outline."""
    if not obj.is_whole or outline.size(obj.spec) <= outline.SMALL:
        return obj
    return replace(obj, spec=outline.spec(obj.spec))


def _spec(wire: Wire) -> Wire:
    return fields(wire.get("spec"))


def _status(wire: Wire) -> Wire:
    return fields(wire.get("status")) or NOTHING
