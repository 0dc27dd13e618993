"""Conditions of a run, as Kubernetes' API conventions and kstatus have them. Pure.

While a run goes on: Succeeded=Unknown, Finished=False, Reconciling=True. Completed: Succeeded=True, Finished=True.
Failed: Succeeded=False, Finished=True, Stalled=True. (kstatus: Reconciling is "in progress", Stalled is "failed";
`kubectl wait` follows one status of one condition, so `Finished` is the one that comes true at either end.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stromboli import visible
from stromboli.plan.redaction import KEYS
from stromboli.reasons import AllowedReason, Reason

Condition = dict[str, Any]
MAX_MESSAGE = 4096


def update(
    conditions: Sequence[Mapping[str, Any]], reason: Reason, message: str, *, generation: int, now: str
) -> list[Condition]:
    """The conditions of a run that is now at `reason`. An unchanged status keeps its lastTransitionTime."""
    wanted = {"Succeeded": reason.status, "Finished": "False" if reason.status == "Unknown" else "True"}
    if reason.status == "Unknown":
        wanted["Reconciling"] = "True"
    if reason.status == "False":
        wanted["Stalled"] = "True"
    kept = [dict(c) for c in conditions if c["type"] not in ("Succeeded", "Finished", "Reconciling", "Stalled")]
    found = [made(conditions, t, s, reason, message, generation=generation, now=now) for t, s in wanted.items()]
    return found[:1] + kept + found[1:]


def allowed(
    conditions: Sequence[Mapping[str, Any]], reason: AllowedReason, message: str, *, generation: int, now: str
) -> list[Condition]:
    """The conditions with `Allowed` set."""
    status = "True" if reason in (AllowedReason.Allowed, AllowedReason.NoAllowlist) else "False"
    rest = [dict(c) for c in conditions if c["type"] != "Allowed"]
    return [*rest, made(conditions, "Allowed", status, reason, message, generation=generation, now=now)]


def find(conditions: Sequence[Mapping[str, Any]], type_: str) -> Mapping[str, Any] | None:
    """The condition of that type, or None."""
    return next((c for c in conditions if c.get("type") == type_), None)


def clip(message: str) -> str:
    """A message that fits: the end matters most (the last lines of an error), so the middle goes.

    Names of files and the like are an agent's to choose: whatever has the shape of a key is masked here at the latest.
    """
    message = visible.text(KEYS.text(message))
    if len(message) <= MAX_MESSAGE:
        return message
    half = MAX_MESSAGE // 2 - 3
    return f"{message[:half]} … {message[-half:]}"


def made(
    old: Sequence[Mapping[str, Any]],
    type_: str,
    status: str,
    reason: str,
    message: str,
    *,
    generation: int,
    now: str,
) -> Condition:
    """One condition; `lastTransitionTime` is that of `old` where the status is the same."""
    before = find(old, type_)
    same = before is not None and before.get("status") == status
    return {
        "type": type_,
        "status": status,
        "observedGeneration": generation,
        "lastTransitionTime": before["lastTransitionTime"] if before is not None and same else now,
        "reason": str(reason),
        "message": clip(message),
    }
