"""A session's status, from one state to the next. Pure; statuses are plain dicts as they stand on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stromboli.plan.session import Holder
from stromboli.reasons import ReadyReason
from stromboli.status import conditions
from stromboli.status.run import Moment

Status = dict[str, Any]
_READY = {ReadyReason.Available: "True", ReadyReason.InUse: "True"}


def holder_of(session: Mapping[str, Any]) -> Holder | None:
    """The run that has a session, as its status says."""
    found = (session.get("status") or {}).get("currentRun")
    return Holder(found["name"], found["uid"]) if found else None


def has(session: Mapping[str, Any], run_uid: str) -> bool:
    """Whether the session's turn is that run's."""
    holder = holder_of(session)
    return holder is not None and holder.uid == run_uid


def ready_reason(status: Mapping[str, Any]) -> str:
    """The reason of `Ready`, or an empty string before the first."""
    found = conditions.find(status.get("conditions") or [], "Ready")
    return "" if found is None else str(found.get("reason", ""))


def at(status: Mapping[str, Any], reason: ReadyReason, message: str, moment: Moment) -> Status:
    """The session is now at `reason`. What is lost is Stalled, for kstatus."""
    new: Status = dict(status)
    new["observedGeneration"] = moment.generation
    new["node"] = status.get("node") or moment.node
    wanted = {"Ready": _READY.get(reason, "False")}
    if reason is ReadyReason.VolumeLost:
        wanted["Stalled"] = "True"
    old = status.get("conditions") or []
    new["conditions"] = [
        conditions.made(old, type_, state, reason, message, generation=moment.generation, now=moment.text)
        for type_, state in wanted.items()
    ]
    return new


def taken(status: Mapping[str, Any], run: Holder, moment: Moment) -> Status:
    """A run has the session now, and counts as its use."""
    new = at(status, ReadyReason.InUse, f"the run {run.name} has it", moment)
    new["currentRun"] = {"name": run.name, "uid": run.uid}
    new["lastUsed"] = moment.text
    return new


def leaving(status: Mapping[str, Any], message: str, moment: Moment) -> Status:
    """The run that has the session is over, and its container may still run. What is lost stays lost."""
    return (
        dict(status)
        if ready_reason(status) == ReadyReason.VolumeLost
        else at(status, ReadyReason.Leaving, message, moment)
    )


def released(status: Mapping[str, Any], moment: Moment) -> Status:
    """No run has the session any more. What it has lost, it has lost."""
    new = dict(status)
    if ready_reason(status) != ReadyReason.VolumeLost:
        new = at(status, ReadyReason.Available, "no run has it", moment)
    new.pop("currentRun", None)
    new["lastUsed"] = moment.text
    return new
