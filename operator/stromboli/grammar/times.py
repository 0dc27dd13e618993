"""Timestamps of the Kubernetes API: RFC 3339, UTC. Pure."""

from __future__ import annotations

from datetime import UTC, datetime


def to_text(moment: datetime) -> str:
    """`2026-01-31T12:00:00Z`: metav1.Time, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_micro(moment: datetime) -> str:
    """`2026-01-31T12:00:00.123456Z`: metav1.MicroTime, for what may take less than a second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_text(text: str) -> datetime:
    """Parse either format. Raises ValueError for anything else."""
    return datetime.fromisoformat(text)
