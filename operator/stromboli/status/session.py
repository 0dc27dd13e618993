"""A session's status, from one state to the next. Pure: old status and what happened go in, the new status comes out.

How a status stands on the wire is known here, and in models/session.py.
"""

from __future__ import annotations

from stromboli.models.agentsession import Filesystem
from stromboli.models.objects import number
from stromboli.models.session import Holder, SessionStatus
from stromboli.reasons import ReadyReason
from stromboli.status import conditions
from stromboli.status.run import Moment

_READY = {ReadyReason.Available: "True", ReadyReason.InUse: "True"}


def at(status: SessionStatus, reason: ReadyReason, message: str, moment: Moment) -> SessionStatus:
    """The session is now at `reason`. What is lost is Stalled, for kstatus."""
    wanted = {"Ready": _READY.get(reason, "False")}
    if reason is ReadyReason.VolumeLost:
        wanted["Stalled"] = "True"
    old = status.wire.get("conditions") or []
    found = [
        conditions.made(old, type_, state, reason, message, generation=moment.generation, now=moment.text)
        for type_, state in wanted.items()
    ]
    node = status.node or moment.node
    return _with(status, observedGeneration=moment.generation, node=node, conditions=found)


def taken(status: SessionStatus, run: Holder, moment: Moment) -> SessionStatus:
    """A run has the session now, and counts as its use."""
    new = at(status, ReadyReason.InUse, f"the run {run.name} has it", moment)
    return _with(new, currentRun={"name": run.name, "uid": run.uid}, lastUsed=moment.text)


def begun(status: SessionStatus, run: Holder, conversation: str, image: str, moment: Moment) -> SessionStatus:
    """A run has the session now, and runs in it: in that conversation, in the image of that id."""
    runs = number(status.wire.get("runs")) + 1
    return _with(taken(status, run, moment), runs=runs, claudeSessionID=conversation, imageID=image)


def copied(status: SessionStatus, parent: Holder, conversation: str, filesystem: Filesystem) -> SessionStatus:
    """The fork has what it begins with of its parent, and needs it no more."""
    came = {"name": parent.name, "uid": parent.uid, "claudeSessionID": conversation, "filesystem": str(filesystem)}
    return _with(status, forkedFrom=came)


def measured(status: SessionStatus, size: int) -> SessionStatus:
    """The session takes so many bytes of disk."""
    return _with(status, sizeBytes=size)


def with_container(status: SessionStatus, id: str | None, hooks: str | None, at: str | None) -> SessionStatus:
    """The session has that container between two runs, in which those hooks had succeeded by then."""
    initialized = {"imageID": status.image, "hooksHash": hooks, "at": at}
    return _with(status, containerID=id, initialized=initialized)


def without_container(status: SessionStatus) -> SessionStatus:
    """The session has no container between two runs: its beginning has not succeeded."""
    return _with(_without(status, "initialized"), containerID="")


def leaving(status: SessionStatus, message: str, moment: Moment) -> SessionStatus:
    """The run that has the session is over, and its container may still run. What is lost stays lost."""
    return status if status.reason == ReadyReason.VolumeLost else at(status, ReadyReason.Leaving, message, moment)


def released(status: SessionStatus, moment: Moment) -> SessionStatus:
    """No run has the session any more. What it has lost, it has lost."""
    if status.reason != ReadyReason.VolumeLost:
        status = at(status, ReadyReason.Available, "no run has it", moment)
    return _with(_without(status, "currentRun"), lastUsed=moment.text)


def _with(status: SessionStatus, **fields: object) -> SessionStatus:
    return SessionStatus.of({**status.wire, **fields})


def _without(status: SessionStatus, field: str) -> SessionStatus:
    return SessionStatus.of({key: value for key, value in status.wire.items() if key != field})
