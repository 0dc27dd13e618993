"""An AgentPolicy as it was read from the cluster. What may be written into one is in agentpolicy.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from stromboli.models.objects import Object, Resource, Status, identity


@dataclass(frozen=True, slots=True)
class Policy(Resource):
    """An AgentPolicy; whether its spec can be read is judged in observe/policy.py."""

    KIND: ClassVar[str] = "AgentPolicy"

    @classmethod
    def of(cls, head: Object, spec: Mapping[str, Any], status: Status) -> Policy:
        """The object with that metadata."""
        return cls(
            **identity(head),
            spec=spec,
            status=status,
        )
