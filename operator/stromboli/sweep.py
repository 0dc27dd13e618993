"""What is on the node against what is in the cluster: at the start and every minute.

The node is listed first and the cluster afterwards: whoever has something on the node by then has had an object
before, so an owner that the complete LIST does not name is really gone. An incomplete LIST sweeps nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from stromboli.errors import PodmanError, StromboliError
from stromboli.kube.client import Cluster
from stromboli.observe.cli import CLIMounts
from stromboli.observe.images import Images
from stromboli.perform.cleanup import Cleaner, Inventory
from stromboli.perform.networks import Networks
from stromboli.status.run import is_being_deleted, is_finished
from stromboli.store import Store

log = logging.getLogger(__name__)

EVERY = 60.0


class Sweep:
    """Finds what events missed; `wake` and `wake_session` hand it to its queue, where its turns are serial."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        inventory: Inventory,
        cleaner: Cleaner,
        store: Store,
        wake: Callable[[str], None],
        wake_session: Callable[[Mapping[str, Any]], None],
        images: Images,
        mounts: CLIMounts,
        networks: Networks,
    ) -> None:
        self._cluster = cluster
        self._inventory = inventory
        self._cleaner = cleaner
        self._store = store
        self._wake = wake
        self._wake_session = wake_session
        self._images = images
        self._mounts = mounts
        self._networks = networks

    async def once(self) -> None:
        """One sweep. Raises ClusterUnavailable, PodmanUnavailable or PodmanError: then another comes."""
        found = await self._inventory.take()
        finished, going, namespaces = set(), set(), set()
        async for obj in self._cluster.runs():
            uid = obj["metadata"]["uid"]
            namespaces.add(obj["metadata"]["namespace"])
            if is_being_deleted(obj):
                continue
            if is_finished(obj.get("status") or {}):
                finished.add(uid)
            else:
                going.add(uid)
                self._look_at(uid, obj)
        sessions = set()
        for obj in await self._cluster.sessions():
            namespaces.add(obj["metadata"]["namespace"])
            if not is_being_deleted(obj):
                sessions.add(obj["metadata"]["uid"])
                self._wake_session(obj)
        for uid in found.everywhere - finished - going - sessions:
            self._store.delete(uid)
            self._wake(uid)
        for uid in found.needed_while_running & finished:
            await self._finish(uid)
        await self._mounts.drop_unused()
        await self._images.drop_looks()
        await self._networks.clear(namespaces)

    async def _finish(self, uid: str) -> None:
        """One session whose things cannot go now keeps nobody else's from it."""
        try:
            await self._cleaner.finished(uid)
        except PodmanError as error:
            log.warning("what run %s leaves behind stays for now: %s", uid, error)

    def _look_at(self, uid: str, obj: dict[str, Any]) -> None:
        """Every run that goes on is looked at now and then, whatever events were missed: of it, or of its container."""
        if not self._store.is_deleted(uid):
            self._store.put(obj)
            self._wake(uid)

    async def attempt(self) -> bool:
        """One sweep that may fail; whether it went through."""
        try:
            await self.once()
        except (StromboliError, OSError) as error:
            log.warning("the sweep has to wait: %s", error)
            return False
        return True
