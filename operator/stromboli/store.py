"""The runs that are not finished yet, as last seen. Fed by the watch and by our own writes.

Only a cache: whatever is missing here is read from the API server, and a write is guarded by the object's
resourceVersion, so an old copy can never overwrite anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stromboli.status.run import is_finished

Object = dict[str, Any]


class Store:
    """Objects by UID; a newer resourceVersion wins, whichever way it came."""

    def __init__(self) -> None:
        self._objects: dict[str, Object] = {}
        self._versions: dict[str, int] = {}  # also of finished ones: the watch tells of older states after our writes
        self._deleted: set[str] = set()

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, uid: str) -> Object | None:
        return self._objects.get(uid)

    def in_session(self, namespace: str, name: str) -> list[str]:
        """UIDs of the runs that want a session, to run in it or to copy it."""
        return [uid for uid, obj in self._objects.items() if _wants(obj, namespace, name)]

    def put(self, obj: Mapping[str, Any]) -> bool:
        """Remember an object, unless what is there is newer; whether it is news. Finished ones are kept no longer."""
        uid = obj["metadata"]["uid"]
        known = self._versions.get(uid)
        if uid in self._deleted or (known is not None and known > _version(obj)):
            return False
        self._versions[uid] = _version(obj)
        if is_finished(obj.get("status") or {}):
            self._objects.pop(uid, None)
        else:
            self._objects[uid] = dict(obj)
        return known != _version(obj)

    def delete(self, uid: str) -> None:
        """The object is gone from the cluster: what it has on the node is to go too."""
        self._objects.pop(uid, None)
        self._deleted.add(uid)

    def is_deleted(self, uid: str) -> bool:
        return uid in self._deleted

    def forget(self, uid: str) -> None:
        """A deleted object whose things are gone."""
        self._deleted.discard(uid)
        self._versions.pop(uid, None)


def _version(obj: Mapping[str, Any]) -> int:
    """resourceVersions of one kind compare as numbers (Kubernetes API concepts, "Resource versions")."""
    text = str(obj["metadata"].get("resourceVersion", "0"))
    return int(text) if text.isdigit() else 0


def _wants(obj: Mapping[str, Any], namespace: str, session: str) -> bool:
    choice = obj["spec"].get("session") or {}
    return obj["metadata"]["namespace"] == namespace and session in (choice.get("name"), choice.get("fork"))
