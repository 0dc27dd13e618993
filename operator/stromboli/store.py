"""A cache of the runs that are not finished, and of the sessions' queues. The watch and our own writes update it.

What is missing here is read from the API server, and each write is guarded by the object's resourceVersion, so an old
copy can never overwrite anything. Of a large run, only the outline is kept (kube/outline.py), and of each run in a
queue, only its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from stromboli.kube import objects
from stromboli.models.objects import Object
from stromboli.models.run import Run
from stromboli.plan.session import Place, place_of


@dataclass(frozen=True, slots=True)
class Reported:
    """A version of a run that the watch has reported."""

    namespace: str
    name: str
    version: int


class Finished(Protocol):
    """Is called with each finished run that is put, and with each run that is gone: perform/history.py and
    perform/notifications/deliveries.py.
    """

    def ended(self, run: Run) -> None: ...

    def gone(self, uid: str) -> None: ...


class Observer(Protocol):
    """Is called with each newer version of a run, beside the one that was kept, and with each run that is gone:
    metrics/runs.py.
    """

    def changed(self, before: Run | None, run: Run) -> None: ...

    def gone(self, uid: str) -> None: ...


class Store:
    """Objects by UID; a newer resourceVersion wins, whether it came from the watch or from a read.

    `wake` is called with the UID of the run that is next in a session's queue after another has left it.
    """

    def __init__(self, wake: Callable[[str], None], *finished: Finished, observer: Observer | None = None) -> None:
        self._wake = wake
        self._finished = finished
        self._observer = observer
        self._objects: dict[str, Run] = {}
        self._versions: dict[
            str, int
        ] = {}  # finished runs included: after our writes, the watch reports older versions
        self._reported: dict[str, Reported] = {}  # versions that have not been read yet
        self._deleted: set[str] = set()
        self._queues: dict[tuple[str, str], dict[str, Place]] = {}
        # The last ticket up to which all runs in a queue are known. The watch alone does not say that: after a list,
        # its events come in the order of names, and each object's are handled by a task of its own.
        self._complete: dict[tuple[str, str], int] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, uid: str) -> Run | None:
        return self._objects.get(uid)

    def report(self, head: Object) -> bool:
        """Record a version that the watch reports; returns whether it is new, so that the run has to be read."""
        uid, version = head.uid, _version(head)
        known = max(self._versions.get(uid, -1), self._reported[uid].version if uid in self._reported else -1)
        if uid in self._deleted or version <= known:
            return False
        self._reported[uid] = Reported(head.namespace, head.name, version)
        return True

    def unread(self, uid: str) -> Reported | None:
        """The version that has been reported but not read yet, if any."""
        return self._reported.get(uid)

    def has_read(self, head: Object) -> bool:
        """Whether this version of a run or a newer one is known, even if the run has finished."""
        return self._versions.get(head.uid, -1) >= _version(head)

    def put(self, run: Run) -> bool:
        """Keep a run unless a newer version is known; returns whether it is new. Finished runs are dropped."""
        uid, version, known = run.uid, _version(run), self._versions.get(run.uid)
        if uid in self._deleted or (known is not None and known > version):
            return False
        self._versions[uid] = version
        if self._observer is not None and known != version:
            self._observer.changed(self._objects.get(uid), run)
        if uid in self._reported and self._reported[uid].version <= version:
            del self._reported[uid]
        if run.status.is_finished:
            # One that was started holds its session, and the next can go on only once that is given back.
            self._drop(uid, wakes_next=not run.status.attempts)
            for one in self._finished:
                one.ended(run)
        elif known != version or run.is_whole or not self._is_whole(uid):
            # an outline adds nothing to the whole run
            self._objects[uid] = objects.kept(run)
            if run.is_suspended and not run.status.attempts:  # others do not wait for it
                self._leave_queues(run, wakes_next=True)
            else:
                for session in run.sessions:
                    self._queues.setdefault((run.namespace, session), {})[uid] = place_of(run)
        return known != version

    def unfinished(self) -> Iterable[Run]:
        """All runs that have not finished."""
        return tuple(self._objects.values())

    def queue(self, namespace: str, session: str) -> list[Place]:
        """The runs that need a session, to run in it or to copy it, in the order of the queue."""
        return sorted(self._queues.get((namespace, session), {}).values())

    def completed(self, namespace: str, session: str, known: Iterable[Place]) -> None:
        """All runs in the session's queue were read, by lists that began after `known` was its content.

        So every run that was created before one of these is in the queue by now, or needs the session no more.
        """
        key, ticket = (namespace, session), max((place.ticket for place in known), default=0)
        if key in self._queues:
            self._complete[key] = max(ticket, self._complete.get(key, 0))

    def is_complete(self, namespace: str, session: str, place: Place) -> bool:
        """Whether every run that is ahead of this place is known, however far the watch is behind."""
        return place.ticket <= self._complete.get((namespace, session), -1)

    def wake_next(self, namespace: str, session: str) -> None:
        """The session has changed: wake the first run that waits for it."""
        waiting = (place for place in self._queues.get((namespace, session), {}).values() if place.waits)
        if (first := min(waiting, default=None)) is not None:
            self._wake(first.uid)

    def delete(self, uid: str) -> None:
        """The object was deleted from the cluster: what it has on the node has to be removed too."""
        self._deleted.add(uid)
        self._reported.pop(uid, None)
        self._drop(uid, wakes_next=True)
        if self._observer is not None:
            self._observer.gone(uid)
        for one in self._finished:
            one.gone(uid)

    def known(self) -> set[str]:
        """The UIDs of all known runs, including finished ones."""
        return {*self._versions, *self._reported}

    def is_deleted(self, uid: str) -> bool:
        return uid in self._deleted

    def forget(self, uid: str) -> None:
        """Everything that a deleted object had on the node has been removed."""
        self._deleted.discard(uid)
        self._versions.pop(uid, None)

    def _is_whole(self, uid: str) -> bool:
        return uid in self._objects and self._objects[uid].is_whole

    def _drop(self, uid: str, *, wakes_next: bool) -> None:
        """Drop a run, and take it out of its sessions' queues."""
        run = self._objects.pop(uid, None)
        if run is not None:
            self._leave_queues(run, wakes_next=wakes_next)

    def _leave_queues(self, run: Run, *, wakes_next: bool) -> None:
        for session in run.sessions:
            key = (run.namespace, session)
            queue = self._queues.get(key, {})
            if queue.pop(run.uid, None) is None:
                continue
            if not queue:
                del self._queues[key]
                self._complete.pop(key, None)
            if wakes_next:
                self.wake_next(*key)


def _version(obj: Object) -> int:
    """resourceVersions of one kind compare as numbers (Kubernetes API concepts, "Resource versions")."""
    return int(obj.version) if obj.version.isdigit() else 0
