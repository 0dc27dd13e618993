"""Kubernetes events about a run or a session: what a person would ask about. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from stromboli import naming
from stromboli.grammar import times
from stromboli.status.conditions import clip


def event(
    obj: Mapping[str, Any], reason: str, message: str, *, now: datetime, key: str, warning: bool = False
) -> dict[str, Any]:
    """A core/v1 Event about `obj`. Two with the same key and reason are one object."""
    meta = obj["metadata"]
    moment = times.to_text(now)
    return {
        "metadata": {
            "name": naming.event(key, reason),
            "namespace": meta["namespace"],
        },
        "involvedObject": {
            "apiVersion": naming.API_VERSION,
            "kind": obj["kind"],
            "name": meta["name"],
            "namespace": meta["namespace"],
            "uid": meta["uid"],
        },
        "reason": reason,
        "message": clip(message)[:1024],
        "type": "Warning" if warning else "Normal",
        "source": {"component": naming.MANAGER},
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }
