"""What a test reads off statuses as they stand on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stromboli.kube import objects
from stromboli.models.run import RunStatus
from stromboli.models.session import SessionStatus


def reason_of(status: Mapping[str, Any]) -> str:
    """The reason of a run's `Succeeded`, or an empty string before the first."""
    return RunStatus.of(status).reason


def is_finished(status: Mapping[str, Any]) -> bool:
    """Whether a run has ended."""
    return RunStatus.of(status).is_finished


def ready_reason(status: Mapping[str, Any]) -> str:
    """The reason of a session's `Ready`, or an empty string before the first."""
    return SessionStatus.of(status).reason


def session_of(run: Mapping[str, Any]) -> str:
    """The UID of the session that a run has."""
    return objects.run(run).session_uid
