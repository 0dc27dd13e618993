"""An AgentPolicy as it was read from the cluster. Its fields and their rules are in agentpolicy.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from stromboli.models.objects import Object, Resource, Status, identity


@dataclass(frozen=True, slots=True)
class Policy(Resource):
    """An AgentPolicy; observe/policy.py checks whether its spec is valid."""

    KIND: ClassVar[str] = "AgentPolicy"

    @classmethod
    def of(cls, head: Object, spec: Mapping[str, Any], status: Status) -> Policy:
        """The policy with that metadata."""
        return cls(
            **identity(head),
            spec=spec,
            status=status,
        )
