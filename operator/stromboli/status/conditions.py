"""Conditions of a run, as Kubernetes' API conventions and kstatus have them. Pure.

While a run goes on: Succeeded=Unknown, Reconciling=True. Completed: Succeeded=True. Failed:
Succeeded=False, Stalled=True. (kstatus: Reconciling is "in progress", Stalled is "failed".)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stromboli.models.reasons import AllowedReason, Reason

Condition = dict[str, Any]
MAX_MESSAGE = 4096


def update(
    conditions: Sequence[Mapping[str, Any]], reason: Reason, message: str, *, generation: int, now: str
) -> list[Condition]:
    """The conditions of a run that is now at `reason`. An unchanged status keeps its lastTransitionTime."""
    wanted: dict[str, tuple[str, str]] = {"Succeeded": (reason.status, reason)}
    if reason.status == "Unknown":
        wanted["Reconciling"] = ("True", reason)
    if reason.status == "False":
        wanted["Stalled"] = ("True", reason)
    kept = [dict(c) for c in conditions if c["type"] not in ("Succeeded", "Reconciling", "Stalled")]
    found = [made(conditions, t, s, r, message, generation=generation, now=now) for t, (s, r) in wanted.items()]
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
    """A message that fits: the end matters most (the last lines of an error), so the middle goes."""
    message = message.replace("\0", "")
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
