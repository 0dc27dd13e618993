"""A policy's status: what the operator makes of it. Pure; statuses are plain dicts as they stand on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stromboli.plan.contradictions import Verdict
from stromboli.reasons import AcceptedReason, EffectiveReason
from stromboli.status import conditions


def of(status: Mapping[str, Any], verdict: Verdict, *, generation: int, now: str) -> dict[str, Any]:
    """The status with this verdict on that generation of the spec."""
    accepted, effective = verdict.accepted, verdict.effective
    wanted = (
        ("Accepted", accepted[0] is AcceptedReason.Accepted, *accepted),
        ("Effective", effective[0] is EffectiveReason.Effective, *effective),
    )
    old = status.get("conditions") or []
    return {
        "observedGeneration": generation,
        "conditions": [
            conditions.made(old, type_, "True" if holds else "False", reason, message, generation=generation, now=now)
            for type_, holds, reason, message in wanted
        ],
    }
