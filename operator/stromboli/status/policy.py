"""A policy's status: whether it is accepted and effective. Pure."""

from __future__ import annotations

from stromboli.models.objects import Status, entries
from stromboli.plan.contradictions import Verdict
from stromboli.reasons import PolicyCondition
from stromboli.status import conditions


def of(status: Status, verdict: Verdict, *, generation: int, now: str) -> Status:
    """The status with this verdict on the given generation of the spec."""
    wanted = ((PolicyCondition.Accepted, *verdict.accepted), (PolicyCondition.Effective, *verdict.effective))
    old = tuple(entries(status.wire.get("conditions")))
    found = [
        conditions.made(old, type_, reason.status, reason, message, generation=generation, now=now)
        for type_, reason, message in wanted
    ]
    return Status.of({"observedGeneration": generation, "conditions": found})
