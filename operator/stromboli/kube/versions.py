"""What a write sends, and whether one that lost a race may be made again on the version that won. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from stromboli.naming import API_VERSION

Operations = Sequence[Mapping[str, Any]]

_KEPT = ("name", "namespace", "uid", "resourceVersion", "labels", "annotations", "finalizers", "ownerReferences")
# What must not have changed of an object's metadata between a judgement and the write that it leads to.
_JUDGED = ("uid", "generation", "deletionTimestamp")


def of(obj: Mapping[str, Any]) -> str:
    """The version of an object."""
    return str(obj["metadata"]["resourceVersion"])


def is_as_read(read: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Whether an object is still what was judged: neither another one, nor changed in spec or status, nor deleted."""
    same = all(read["metadata"].get(key) == found["metadata"].get(key) for key in _JUDGED)
    return same and (read.get("status") or {}) == (found.get("status") or {})


def body(kind: str, obj: Mapping[str, Any], spec: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
    """An object as it is to be from now on. All that is a person's of its metadata goes along: a PUT replaces it.

    A PUT of a status leaves spec and metadata as they are, whatever is sent.
    """
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {k: obj["metadata"][k] for k in _KEPT if k in obj["metadata"]},
        "spec": dict(spec),
        "status": dict(status),
    }


def patch(obj: Mapping[str, Any], part: Literal["spec", "status"], value: Mapping[str, Any]) -> Operations:
    """A JSON patch (RFC 6902) that replaces a part of an object if the rest is still what was judged.

    What `is_as_read` compares; a deletion raises the generation, and needs no test of its own. That there is no
    status is a test for null.
    """
    meta = obj["metadata"]
    judged = {"/metadata/uid": meta["uid"], "/metadata/generation": meta["generation"], "/status": obj.get("status")}
    tests = [{"op": "test", "path": path, "value": expected} for path, expected in judged.items()]
    return [*tests, {"op": "add", "path": f"/{part}", "value": dict(value)}]
