"""Reads runs from the API server into the store, which keeps what is used of them."""

from __future__ import annotations

from stromboli.models.run import Run
from stromboli.observe.reads import ClusterReads
from stromboli.store import Store


async def read(cluster: ClusterReads, store: Store, uid: str, namespace: str, name: str) -> None:
    """Read a run; if it no longer exists under that UID, the store deletes it. Raises ClusterUnavailable."""
    found = await cluster.run(namespace, name)
    if found is None or found.uid != uid:
        store.delete(uid)
    else:
        store.put(found)


async def newest(cluster: ClusterReads, store: Store, uid: str) -> Run | None:
    """The newest version of the run that the watch has reported; None if it has ended or was deleted."""
    if (reported := store.unread(uid)) is not None:
        await read(cluster, store, uid, reported.namespace, reported.name)
    return store.get(uid)
