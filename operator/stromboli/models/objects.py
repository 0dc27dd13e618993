"""What every object read from the cluster has in common, and how a field is read that may hold anything.

The kinds are in run.py, session.py and policy.py; kube/objects.py makes them of what stands on the wire.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, Self

from stromboli.grammar import times
from stromboli.reasons import ConditionType

NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Object:
    """Which object it is, and which version of it was read.

    `created` and `deleted` are timestamps as they stand on the wire; `namespace` is empty for what belongs to none.
    """

    uid: str
    namespace: str
    name: str
    version: str
    generation: int
    created: str
    deleted: str | None

    @property
    def is_being_deleted(self) -> bool:
        """Whether a deletion was asked for; somebody's finalizer may hold the object, but its container has to end."""
        return self.deleted is not None

    @property
    def label(self) -> str:
        """namespace/name, for people."""
        return f"{self.namespace}/{self.name}"


def identity(obj: Object) -> dict[str, Any]:
    """Its fields, to make another object of that identity and version."""
    return {name: getattr(obj, name) for name in Object.__slots__}


@dataclass(frozen=True, slots=True)
class Status:
    """A status as it was read; `wire` is all of it, and belongs to status/ and kube/ alone."""

    wire: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, wire: Mapping[str, Any] | None) -> Self:
        """The typed view. Raises nothing: whoever may write a status may have written anything."""
        return cls(wire or NOTHING)


@dataclass(frozen=True, slots=True)
class Resource(Object):
    """An object of one of our kinds, with its spec as it was written, or the outline of it (kube/outline.py)."""

    KIND: ClassVar[str] = ""

    spec: Mapping[str, Any]
    status: Status


def text(value: object) -> str:
    """A string, or the empty one for anything else."""
    return value if isinstance(value, str) else ""


def number(value: object) -> int:
    """A whole number, or 0 for anything else."""
    return value if isinstance(value, int) else 0


def moment(value: object) -> datetime | None:
    """A timestamp, or None for anything else. One without a time zone is in UTC."""
    try:
        found = times.from_text(text(value))
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def fields(value: object) -> Mapping[str, Any]:
    """A JSON object, or an empty one for anything else."""
    return value if isinstance(value, Mapping) else NOTHING


def entries(value: object) -> Iterator[Mapping[str, Any]]:
    """The JSON objects of a list; nothing for anything else."""
    return (entry for entry in value if isinstance(entry, Mapping)) if isinstance(value, list | tuple) else iter(())


def condition(status: Mapping[str, Any], type_: ConditionType) -> Mapping[str, Any]:
    """The condition of that type; an empty one where there is none."""
    return next((found for found in entries(status.get("conditions")) if found.get("type") == type_), NOTHING)
