"""What all objects read from the cluster have in common, and how to read a field that may contain anything.

The kinds are in run.py, session.py and policy.py; kube/objects.py creates them from the API server's responses.
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
    """The identity of an object, and the version that was read.

    `created` and `deleted` are timestamps in API form; `namespace` is empty for cluster-scoped objects.
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
        """Whether it has a deletion timestamp. A finalizer may keep the object, but its container has to end."""
        return self.deleted is not None

    @property
    def label(self) -> str:
        """namespace/name, for messages."""
        return f"{self.namespace}/{self.name}"


def identity(obj: Object) -> dict[str, Any]:
    """Its fields, for another object with the same identity and version."""
    return {name: getattr(obj, name) for name in Object.__slots__}


@dataclass(frozen=True, slots=True)
class Status:
    """A status as it was read; `wire` is all of it in API form, and only for status/ and kube/."""

    wire: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, wire: Mapping[str, Any] | None) -> Self:
        """The typed view. Never raises: a user who may write statuses may have written anything."""
        return cls(wire or NOTHING)


@dataclass(frozen=True, slots=True)
class Resource(Object):
    """An object of one of our kinds, with its spec in API form, whole or as an outline (kube/outline.py)."""

    KIND: ClassVar[str] = ""

    spec: Mapping[str, Any]
    status: Status


def text(value: object) -> str:
    """The value if it is a string, otherwise an empty string."""
    return value if isinstance(value, str) else ""


def number(value: object) -> int:
    """The value if it is an integer, otherwise 0."""
    return value if isinstance(value, int) else 0


def moment(value: object) -> datetime | None:
    """The value as a timestamp, or None if it is not one. A timestamp without a time zone is taken as UTC."""
    try:
        found = times.from_text(text(value))
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def fields(value: object) -> Mapping[str, Any]:
    """The value if it is a JSON object, otherwise an empty one."""
    return value if isinstance(value, Mapping) else NOTHING


def entries(value: object) -> Iterator[Mapping[str, Any]]:
    """The JSON objects in a list; nothing if the value is not a list."""
    return (entry for entry in value if isinstance(entry, Mapping)) if isinstance(value, list | tuple) else iter(())


def condition(status: Mapping[str, Any], type_: ConditionType) -> Mapping[str, Any]:
    """The condition of that type; an empty mapping if there is none."""
    return next((found for found in entries(status.get("conditions")) if found.get("type") == type_), NOTHING)


def stands(status: Mapping[str, Any], type_: ConditionType, as_: str) -> bool:
    """Whether the condition of that type is True, or False, as `as_` says."""
    return condition(status, type_).get("status") == as_
