"""What is on the node against what is in the cluster: at the start and every minute.

The node is listed first and the cluster afterwards: whoever has something on the node by then has had an object
before, so an owner that the complete LIST does not name is really gone. An incomplete LIST sweeps nothing.

The parts are independent: what Podman refuses in one is logged, does not stop the others, and is tried again by the
next regular sweep.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from stromboli.errors import PodmanError, StromboliError
from stromboli.kube.client import Cluster
from stromboli.models.objects import Object
from stromboli.models.run import Run
from stromboli.node.cleanup import Cleaner, Inventory
from stromboli.node.cli import CLIMounts
from stromboli.node.gate import Gate
from stromboli.node.images import Images
from stromboli.node.networks import Networks
from stromboli.observe.sessions import moment
from stromboli.perform.notify import Notifier
from stromboli.status.run import waiter
from stromboli.store import Store

log = logging.getLogger(__name__)

EVERY = 60.0


@dataclass(frozen=True, slots=True)
class Known:
    """UIDs of what there is in the cluster and is not being deleted, and all namespaces that have runs or sessions."""

    finished: set[str] = field(default_factory=set)
    going: set[str] = field(default_factory=set)
    sessions: set[str] = field(default_factory=set)
    namespaces: set[str] = field(default_factory=set)


class Sweep:
    """Finds what events missed; `wake` and `wake_session` hand it to its queue, where its passes are serial."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        inventory: Inventory,
        cleaner: Cleaner,
        store: Store,
        wake: Callable[[str], None],
        wake_session: Callable[[Object], None],
        images: Images,
        mounts: CLIMounts,
        networks: Networks,
        notifier: Notifier,
        gate: Gate,
        node: str,
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
        self._notifier = notifier
        self._gate = gate
        self._node = node

    async def attempt(self) -> bool:
        """One sweep that may fail; whether it went through. It has not where the API server or Podman is away."""
        try:
            await self.once()
        except (StromboliError, OSError) as error:
            log.warning("the sweep has to wait: %s", error)
            return False
        return True

    async def once(self) -> None:
        """One sweep. Raises ClusterUnavailable, PodmanUnavailable, and PodmanError where the node cannot be listed."""
        found = await self._inventory.take()
        known = await self.survey()
        for uid in found.everywhere - known.finished - known.going - known.sessions:
            self._store.delete(uid)
            self._wake(uid)
        for uid in found.needed_while_running & known.finished:
            await self._part(f"what run {uid} leaves behind", self._cleaner.left_over(uid))
        self._images.forget_pulls()
        await self._part("holders of CLI images that nobody uses", self._mounts.drop_unused())
        await self._part("temporary containers through which files were read", self._images.remove_readers())
        await self._part("networks of namespaces without runs", self._networks.clear(known.namespaces))

    async def survey(self) -> Known:
        """What there is in the cluster; each run that goes on, and each session, is looked at now and then, whatever
        events were missed. Raises ClusterUnavailable.
        """
        before = self._store.known()
        known = Known()
        async for run in self._cluster.runs():
            known.namespaces.add(run.namespace)
            if run.is_being_deleted:
                continue
            (known.finished if run.status.is_finished else known.going).add(run.uid)
            if not self._store.is_deleted(run.uid):
                self._store.put(run)
                self._note_start(self._store.get(run.uid))
        async for session in self._cluster.sessions():
            known.namespaces.add(session.namespace)
            if not session.is_being_deleted:
                known.sessions.add(session.uid)
                self._wake_session(session)
        gone = before - known.going - known.finished
        for uid in gone:
            self._store.delete(uid)
        for uid in gone | known.going:  # once all are known: a queue is judged by all of it
            self._wake(uid)
        self._notifier.forget_all_but(known.namespaces)
        self._gate.forget_all_but(known.namespaces)
        return known

    def _note_start(self, run: Run | None) -> None:
        """Put back into the line who stood in it before this operator began, and count who is at work."""
        if run is None or run.status.node != self._node:
            return
        if run.status.attempts:
            self._gate.at_work(run.uid)
        elif run.status.is_in_line:
            self._gate.stand(waiter(run, moment(run, self._node)))

    async def _part(self, what: str, work: Awaitable[None]) -> None:
        try:
            await work
        except PodmanError as error:
            log.warning("%s: left to the next sweep: %s", what, error)
