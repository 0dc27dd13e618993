"""Transitions of a session's status. Pure: the old status and what happened go in, the new status comes out.

Only this module and models/session.py know the status's format in the API.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from stromboli.grammar import times
from stromboli.models.agentsession import Filesystem
from stromboli.models.objects import entries, number
from stromboli.models.session import Origin, RunRef, ServiceEntry, SessionStatus
from stromboli.reasons import ReadyReason, SessionCondition
from stromboli.status import conditions
from stromboli.status.run import Moment

MAX_SERVICE_MESSAGE = 256
MAX_SERVICES_SIZE = 96 * 1024  # bytes of JSON
_LEAST_FIRST = ("message", "digest", "image")


def at(status: SessionStatus, reason: ReadyReason, message: str, moment: Moment) -> SessionStatus:
    """The session is now in the state given by `reason`. A lost volume is also Stalled, for kstatus."""
    wanted = {SessionCondition.Ready: reason.status}
    if reason is ReadyReason.VolumeLost:
        wanted[SessionCondition.Stalled] = "True"
    old = tuple(entries(status.wire.get("conditions")))
    found = [
        conditions.made(old, type_, state, reason, message, generation=moment.generation, now=moment.text)
        for type_, state in wanted.items()
    ]
    node = status.node or moment.node
    return _with(status, observedGeneration=moment.generation, node=node, conditions=found)


def taken(status: SessionStatus, run: RunRef, moment: Moment) -> SessionStatus:
    """A run now holds the session, which counts as use."""
    new = at(status, ReadyReason.InUse, f"the run {run.name} is using it", moment)
    return _with(new, currentRun={"name": run.name, "uid": run.uid}, lastUsed=moment.text)


def begun(status: SessionStatus, run: RunRef, conversation: str, image: str, moment: Moment) -> SessionStatus:
    """A run holds the session and starts in it, with that conversation and the image of that id."""
    runs = number(status.wire.get("runs")) + 1
    return _with(taken(status, run, moment), runs=runs, claudeSessionID=conversation, imageID=image)


def copied(status: SessionStatus, origin: Origin, conversation: str, filesystem: Filesystem) -> SessionStatus:
    """The fork has its copy of the parent's state, and no longer needs the parent."""
    came = {"name": origin.name, "uid": origin.uid, "claudeSessionID": conversation, "filesystem": str(filesystem)}
    return _with(status, forkedFrom=came)


def measured(status: SessionStatus, size: int) -> SessionStatus:
    """The session takes up `size` bytes of disk."""
    return _with(status, sizeBytes=size)


def with_container(status: SessionStatus, id: str | None, hooks: str | None, at: str | None) -> SessionStatus:
    """The session keeps this container until its next run; `hooks` (a hash) had succeeded in it by the time `at`."""
    initialized = {"imageID": status.image, "hooksHash": hooks, "at": at}
    return _with(status, containerID=id, initialized=initialized)


def without_container(status: SessionStatus) -> SessionStatus:
    """The session keeps no container until its next run, since its initial hooks have not succeeded."""
    return _with(_without(status, "initialized"), containerID="")


def leaving(status: SessionStatus, message: str, moment: Moment) -> SessionStatus:
    """The run that holds the session is over, but its container may still be running. VolumeLost is final."""
    return status if status.reason == ReadyReason.VolumeLost else at(status, ReadyReason.Leaving, message, moment)


def released(status: SessionStatus, moment: Moment) -> SessionStatus:
    """No run holds the session any more. VolumeLost is final."""
    if status.reason != ReadyReason.VolumeLost:
        status = at(status, ReadyReason.Available, "no run is using it", moment)
    return _with(_without(status, "currentRun"), lastUsed=moment.text)


def with_services(status: SessionStatus, services: Sequence[ServiceEntry]) -> SessionStatus:
    """The session's stack has these services; none if it has no stack.

    A status has to fit into its object beside a spec of any size (kube/outline.py): of a very large stack, the least
    important fields are left out.
    """
    if not services:
        return _without(status, "services")
    found = [_service(one) for one in services]
    for field in _LEAST_FIRST:
        if len(json.dumps(found)) <= MAX_SERVICES_SIZE:
            break
        found = [{key: value for key, value in one.items() if key != field} for one in found]
    return _with(status, services=found)


def _service(entry: ServiceEntry) -> dict[str, object]:
    made = {
        "name": entry.name,
        "image": entry.image,
        "digest": entry.digest,
        "state": str(entry.state),
        "health": str(entry.health),
        "ready": entry.ready,
        "restarts": entry.restarts,
        "startedAt": None if entry.started is None else times.to_text(entry.started),
        "message": conditions.clip(entry.message)[:MAX_SERVICE_MESSAGE],
    }
    return {key: value for key, value in made.items() if value not in (None, "")}


def _with(status: SessionStatus, **changed: object) -> SessionStatus:
    return SessionStatus.of({**status.wire, **changed})


def _without(status: SessionStatus, field: str) -> SessionStatus:
    return SessionStatus.of({key: value for key, value in status.wire.items() if key != field})
