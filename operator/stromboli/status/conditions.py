"""Conditions, following the Kubernetes API conventions and kstatus. Pure.

An unfinished run has Succeeded=Unknown, Finished=False, Reconciling=True; a completed one has Succeeded=True,
Finished=True; a failed one has Succeeded=False, Finished=True, Stalled=True. (For kstatus, Reconciling is "in progress"
and Stalled is "failed". `kubectl wait` waits for one status of one condition; `Finished` becomes True in both cases.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stromboli import visible
from stromboli.plan.redaction import KEYS
from stromboli.reasons import AllowedReason, ConditionReason, ConditionType, Reason, RunCondition

Condition = dict[str, Any]
MAX_MESSAGE = 4096
# The types that follow from `Succeeded`. `Allowed` does not: it is kept as it was.
_BY_SUCCEEDED = (RunCondition.Succeeded, RunCondition.Finished, RunCondition.Reconciling, RunCondition.Stalled)


def update(
    conditions: Sequence[Mapping[str, Any]], reason: Reason, message: str, *, generation: int, now: str
) -> list[Condition]:
    """The conditions of a run that is now at `reason`. An unchanged status keeps its lastTransitionTime."""
    wanted: dict[ConditionType, str] = {
        RunCondition.Succeeded: reason.status,
        RunCondition.Finished: "False" if reason.status == "Unknown" else "True",
    }
    if reason.status == "Unknown":
        wanted[RunCondition.Reconciling] = "True"
    if reason.status == "False":
        wanted[RunCondition.Stalled] = "True"
    kept = [dict(c) for c in conditions if c["type"] not in _BY_SUCCEEDED]
    found = [made(conditions, t, s, reason, message, generation=generation, now=now) for t, s in wanted.items()]
    return found[:1] + kept + found[1:]


def allowed(
    conditions: Sequence[Mapping[str, Any]], reason: AllowedReason, message: str, *, generation: int, now: str
) -> list[Condition]:
    """The conditions with `Allowed` set."""
    type_ = RunCondition.Allowed
    rest = [dict(c) for c in conditions if c["type"] != type_]
    return [*rest, made(conditions, type_, reason.status, reason, message, generation=generation, now=now)]


def find(conditions: Sequence[Mapping[str, Any]], type_: ConditionType) -> Mapping[str, Any] | None:
    """The condition of that type, or None."""
    return next((c for c in conditions if c.get("type") == type_), None)


def clip(message: str) -> str:
    """Shorten a message to about MAX_MESSAGE by cutting the middle: the end of an error matters most.

    It may contain file names and the like that an agent chose, so anything that looks like an API key is masked here.
    """
    message = visible.text(KEYS.text(message))
    if len(message) <= MAX_MESSAGE:
        return message
    half = MAX_MESSAGE // 2 - 3
    return f"{message[:half]} … {message[-half:]}"


def made(
    old: Sequence[Mapping[str, Any]],
    type_: ConditionType,
    status: str,
    reason: ConditionReason,
    message: str,
    *,
    generation: int,
    now: str,
) -> Condition:
    """One condition; keeps the `lastTransitionTime` of `old` if the status is unchanged."""
    before = find(old, type_)
    same = before is not None and before.get("status") == status
    return {
        "type": str(type_),
        "status": status,
        "observedGeneration": generation,
        "lastTransitionTime": (before.get("lastTransitionTime") if before is not None and same else None) or now,
        "reason": str(reason),
        "message": clip(message),
    }
