"""Kubernetes events about a run or a session. Pure; when to emit one is decided elsewhere."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from stromboli import naming
from stromboli.grammar import times
from stromboli.models.objects import Resource
from stromboli.status.conditions import clip


def event(
    obj: Resource, reason: str, message: str, *, now: datetime, key: str, warning: bool = False
) -> dict[str, Any]:
    """A core/v1 Event about `obj`. Events with the same key and reason have the same name, so only one is created."""
    moment = times.to_text(now)
    return {
        "metadata": {
            "name": naming.event(key, reason),
            "namespace": obj.namespace,
        },
        "involvedObject": {
            "apiVersion": naming.API_VERSION,
            "kind": obj.KIND,
            "name": obj.name,
            "namespace": obj.namespace,
            "uid": obj.uid,
        },
        "reason": reason,
        "message": clip(message)[:1024],
        "type": "Warning" if warning else "Normal",
        "source": {"component": naming.MANAGER},
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }
