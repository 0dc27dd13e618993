"""An AgentImage as it was read from the cluster. Its fields and their rules are in agentimage.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from stromboli.models.objects import NOTHING, Object, Resource, Status, condition, entries, identity, number, text
from stromboli.reasons import ImageCondition


@dataclass(frozen=True, slots=True)
class Held:
    """What a node had of the image when it last wrote the status; empty strings if it had none. `problem` is what was
    wrong with the registry then.
    """

    id: str
    digest: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ImageStatus(Status):
    """The state of the image. `reason` and `message` are those of `Ready`; `generation` is that of the spec that was
    processed, -1 if none was; `held` is by node.
    """

    reason: str = ""
    message: str = ""
    generation: int = -1
    held: Mapping[str, Held] = field(default_factory=dict)

    @classmethod
    def of(cls, wire: Mapping[str, Any] | None) -> Self:
        """The typed view. Never raises."""
        wire = wire or NOTHING
        ready = condition(wire, ImageCondition.Ready)
        return cls(
            wire=wire,
            reason=text(ready.get("reason")),
            message=text(ready.get("message")),
            generation=number(wire["observedGeneration"]) if "observedGeneration" in wire else -1,
            held={
                text(node.get("name")): Held(text(node.get("id")), text(node.get("digest")), text(node.get("problem")))
                for node in entries(wire.get("nodes"))
            },
        )


@dataclass(frozen=True, slots=True)
class AgentImage(Resource):
    """An AgentImage. `reference` is its `spec.image`."""

    KIND: ClassVar[str] = "AgentImage"

    status: ImageStatus
    reference: str

    @classmethod
    def of(cls, head: Object, spec: Mapping[str, Any], status: ImageStatus) -> AgentImage:
        """The image object with that metadata."""
        return cls(**identity(head), spec=spec, status=status, reference=text(spec.get("image")))
