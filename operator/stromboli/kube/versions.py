"""What a write sends, and whether one that lost a race may be repeated on the version that won. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from stromboli.models.objects import Resource
from stromboli.models.run import Run
from stromboli.naming import API_VERSION

Wire = Mapping[str, Any]
Operations = Sequence[Mapping[str, Any]]

_KEPT = ("name", "namespace", "uid", "resourceVersion", "labels", "annotations", "finalizers", "ownerReferences")


def is_as_read(read: Resource, found: Resource) -> bool:
    """Whether an object is still as it was judged: the same one, unchanged in spec and status, and not deleted."""
    return _judged(read) == _judged(found)


def status(obj: Resource, new: Wire) -> dict[str, Any]:
    """The body of a PUT of a status; it leaves spec and metadata unchanged."""
    metadata = {"name": obj.name, "namespace": obj.namespace, "uid": obj.uid, "resourceVersion": obj.version}
    return _body(obj, {key: value for key, value in metadata.items() if value}, {}, new)


def spec(obj: Resource, metadata: Wire, new: Wire) -> dict[str, Any]:
    """The body of a PUT of a spec. It includes the users' part of the object's `metadata`, which a PUT replaces too."""
    return _body(obj, {key: metadata[key] for key in _KEPT if key in metadata}, new, obj.status.wire)


def patch(obj: Resource, part: Literal["spec", "status"], value: Wire) -> Operations:
    """A JSON patch (RFC 6902) that replaces a part of an object if the rest is still as it was judged.

    It tests what `is_as_read` compares; a deletion raises the generation and needs no separate test. A test for null
    means that there is no status.
    """
    judged = {
        "/metadata/uid": obj.uid,
        "/metadata/generation": obj.generation,
        "/status": dict(obj.status.wire) or None,
    }
    tests = [{"op": "test", "path": path, "value": expected} for path, expected in judged.items()]
    return [*tests, {"op": "add", "path": f"/{part}", "value": dict(value)}]


def notification(run: Run, new: Wire) -> Operations:
    """A JSON patch of a run's status that replaces what has become of its notification, and nothing else, if that is
    still as it was read.
    """
    place, known = "/status/notification", run.status.wire.get("notification")
    tests = [
        {"op": "test", "path": path, "value": value} for path, value in (("/metadata/uid", run.uid), (place, known))
    ]
    return [*tests, {"op": "add", "path": place, "value": dict(new)}]


def _judged(obj: Resource) -> tuple[object, ...]:
    """The parts of an object that must not change between a decision and the write that follows from it."""
    return obj.uid, obj.generation, obj.deleted, obj.status.wire


def _body(obj: Resource, metadata: Wire, spec: Wire, status: Wire) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": obj.KIND,
        "metadata": dict(metadata),
        "spec": dict(spec),
        "status": dict(status),
    }
