"""The runs that are not finished yet, as last seen, and the queues of sessions. Fed by the watch and our own writes.

Only a cache: whatever is missing here is read from the API server, and a write is guarded by the object's
resourceVersion, so an old copy can never overwrite anything. Of a large run only its outline is kept
(kube/outline.py), and of a queue each run's place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stromboli.kube import outline
from stromboli.plan.session import Place, place_of, sessions_of
from stromboli.status.run import is_finished

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Heard:
    """A version of a run that the watch has reported."""

    namespace: str
    name: str
    version: int


class Store:
    """Objects by UID; a newer resourceVersion wins, whichever way it came.

    `wake` is called with the UID of the run that is next in a session's queue after another has left it.
    """

    def __init__(self, wake: Callable[[str], None]) -> None:
        self._wake = wake
        self._objects: dict[str, Object] = {}
        self._versions: dict[str, int] = {}  # also of finished ones: the watch reports older states after our writes
        self._heard: dict[str, Heard] = {}  # what is still to be read
        self._deleted: set[str] = set()
        self._queues: dict[tuple[str, str], dict[str, Place]] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, uid: str) -> Object | None:
        return self._objects.get(uid)

    def hear(self, meta: Mapping[str, Any]) -> bool:
        """The watch reports a version; whether it is news, and the run is to be read."""
        uid, version = meta["uid"], _version(meta)
        known = max(self._versions.get(uid, -1), self._heard[uid].version if uid in self._heard else -1)
        if uid in self._deleted or version <= known:
            return False
        self._heard[uid] = Heard(meta["namespace"], meta["name"], version)
        return True

    def unread(self, uid: str) -> Heard | None:
        """The version that is still to be read, where one is."""
        return self._heard.get(uid)

    def has_read(self, meta: Mapping[str, Any]) -> bool:
        """Whether this version of a run, or a newer one, is known: finished ones included."""
        return self._versions.get(meta["uid"], -1) >= _version(meta)

    def put(self, obj: Mapping[str, Any]) -> bool:
        """Remember an object, unless what is there is newer; whether it is news. Finished ones are kept no longer."""
        meta = obj["metadata"]
        uid, version, known = meta["uid"], _version(meta), self._versions.get(meta["uid"])
        if uid in self._deleted or (known is not None and known > version):
            return False
        self._versions[uid] = version
        if uid in self._heard and self._heard[uid].version <= version:
            del self._heard[uid]
        if is_finished(obj.get("status") or {}):
            self._drop(uid)
        elif (
            known != version or outline.is_whole(obj) or not self._is_whole(uid)
        ):  # the outline of what is here adds nothing to it
            kept = outline.kept(dict(obj))
            self._objects[uid] = kept
            for session in sessions_of(kept):
                self._queues.setdefault((meta["namespace"], session), {})[uid] = place_of(kept)
        return known != version

    def queue(self, namespace: str, session: str) -> list[Place]:
        """The runs that want a session, to run in it or to copy it, in the order of their turns."""
        return sorted(self._queues.get((namespace, session), {}).values())

    def wake_next(self, namespace: str, session: str) -> None:
        """Something about the session changed: of those who wait for it, the first is looked at."""
        waiting = (place for place in self._queues.get((namespace, session), {}).values() if place.waits)
        if (first := min(waiting, default=None)) is not None:
            self._wake(first.uid)

    def delete(self, uid: str) -> None:
        """The object is gone from the cluster: what it has on the node is to go too."""
        self._deleted.add(uid)
        self._heard.pop(uid, None)
        self._drop(uid)

    def known(self) -> set[str]:
        """UIDs of all runs that anything is known of, finished ones included."""
        return {*self._versions, *self._heard}

    def is_deleted(self, uid: str) -> bool:
        return uid in self._deleted

    def forget(self, uid: str) -> None:
        """A deleted object whose things are gone."""
        self._deleted.discard(uid)
        self._versions.pop(uid, None)

    def _is_whole(self, uid: str) -> bool:
        return uid in self._objects and outline.is_whole(self._objects[uid])

    def _drop(self, uid: str) -> None:
        """A run waits for nothing any more."""
        obj = self._objects.pop(uid, None)
        if obj is None:
            return
        for session in sessions_of(obj):
            key = (obj["metadata"]["namespace"], session)
            queue = self._queues[key]
            del queue[uid]
            if not queue:
                del self._queues[key]
            self.wake_next(*key)


def _version(meta: Mapping[str, Any]) -> int:
    """resourceVersions of one kind compare as numbers (Kubernetes API concepts, "Resource versions")."""
    text = str(meta.get("resourceVersion", "0"))
    return int(text) if text.isdigit() else 0
