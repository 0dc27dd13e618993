"""What there is in the cluster, from one complete LIST of the runs and one of the sessions: in the store, in the start
gate's line, and as the owners of what is on the node.

Every run that is not finished and every session is woken, so that a missed event delays them by one survey at most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from stromboli.kube.client import Cluster
from stromboli.models.objects import Object
from stromboli.models.run import Run
from stromboli.node.start_gate import StartGate
from stromboli.observe.sessions import moment
from stromboli.status.run import waiter
from stromboli.store import Store


@dataclass(frozen=True, slots=True)
class Known:
    """The UIDs of all runs and sessions that are not being deleted, and the namespaces of all runs and sessions."""

    finished: set[str] = field(default_factory=set)
    going: set[str] = field(default_factory=set)
    sessions: set[str] = field(default_factory=set)
    namespaces: set[str] = field(default_factory=set)

    @property
    def owners(self) -> set[str]:
        """Everyone who may have something on the node."""
        return self.finished | self.going | self.sessions


class Survey:
    """Lists the cluster for this node. `wake` and `wake_session` put a run and a session into their work queues."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        gate: StartGate,
        node: str,
        wake: Callable[[str], None],
        wake_session: Callable[[Object], None],
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._gate = gate
        self._node = node
        self._wake = wake
        self._wake_session = wake_session

    async def take(self) -> Known:
        """List the cluster, and wake every run that is not finished and every session. Raises ClusterUnavailable."""
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
        for uid in before - known.going - known.finished:
            self.deleted(uid)
        for uid in known.going:  # once all are known: a run's place in a queue depends on all of them
            self._wake(uid)
        return known

    def deleted(self, uid: str) -> None:
        """An object is gone whose deletion was missed: what it has on the node is removed by its next pass."""
        self._store.delete(uid)
        self._wake(uid)

    def _note_start(self, run: Run | None) -> None:
        """Restore a run's place in the line from before a restart, and count the runs whose containers run."""
        if run is None or run.status.node != self._node:
            return
        if run.status.is_in_line:
            self._gate.stand(waiter(run, moment(run, self._node)))
        elif run.status.attempts and not run.status.is_between_attempts:
            self._gate.at_work(run.uid)
