"""One turn of one session, whatever its runs do: its condition, a turn that was never given back, its size, its time to
live.

What a deleted session has on the node goes the way of everything without an owner (reconcile.py, sweep.py).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from stromboli.errors import Conflict, Rejected
from stromboli.grammar import duration, times
from stromboli.kube.client import Cluster
from stromboli.observe import sessions
from stromboli.perform.sessions import Sessions
from stromboli.plan.session import Holder
from stromboli.reasons import ReadyReason
from stromboli.status import session as states
from stromboli.status.run import is_being_deleted, is_finished

log = logging.getLogger(__name__)
Object = dict[str, Any]


class Upkeep:
    """Looks after the sessions of this node, one turn after the other for each."""

    def __init__(self, cluster: Cluster, sessions: Sessions, node: str) -> None:
        self._cluster = cluster
        self._sessions = sessions
        self._node = node

    async def turn(self, uid: str) -> float | None:
        """One turn; seconds until the next, None for "when something happens".

        Raises ClusterUnavailable, PodmanError, PodmanUnavailable: then it is to be tried again.
        """
        obj = await self._sessions.find(uid)
        if obj is None or is_being_deleted(obj):
            return None
        status = obj.get("status") or {}
        if status.get("node") not in (None, "", self._node):
            return None
        try:
            return await self._step(obj, status)
        except Conflict:
            return 0.0
        except Rejected as error:  # the runs that want it say so; the next sweep has it looked at again
            log.warning("session %s: %s", obj["metadata"]["name"], error)
            return None

    async def _step(self, obj: Object, status: Mapping[str, Any]) -> float | None:
        meta = obj["metadata"]
        if (holder := states.holder_of(obj)) is not None:
            if not await self._is_used(meta["namespace"], holder):
                await self._sessions.vacate(meta["uid"], meta["namespace"], meta["name"], holder.uid)
            return None
        if await self._sessions.measure(obj):
            return 0.0
        if not status.get("conditions"):
            await self._write(obj, ReadyReason.Available, "no run has used it yet")
            return None
        left = self._seconds_left(obj)
        if left is None or left > 0:
            if states.ready_reason(status) == ReadyReason.Expired:  # its time to live is another by now
                await self._write(obj, ReadyReason.Available, "no run has it")
            return left
        # Written down first, by compare-and-swap: a run that comes now does not take what is about to go.
        await self._write(obj, ReadyReason.Expired, f"not used for {obj['spec']['ttlAfterLastUse']}: it is deleted")
        await self._cluster.delete_session(meta["namespace"], meta["name"])
        return None

    async def _is_used(self, namespace: str, holder: Holder) -> bool:
        """Whether the run that the session names still is to have it: to run in it, or to copy it."""
        run = await self._cluster.run(namespace, holder.name)
        if run is None or run["metadata"]["uid"] != holder.uid:
            return False
        return not is_being_deleted(run) and not is_finished(run.get("status") or {})

    def _seconds_left(self, obj: Object) -> float | None:
        """Until the session has not been used for as long as it is to live unused; None where it lives on."""
        ttl = (obj.get("spec") or {}).get("ttlAfterLastUse")
        if ttl is None:
            return None
        last = obj["status"].get("lastUsed") or obj["metadata"]["creationTimestamp"]
        return duration.parse(ttl) - (datetime.now(UTC) - times.from_text(last)).total_seconds()

    async def _write(self, obj: Object, reason: ReadyReason, message: str) -> None:
        new = states.at(obj.get("status") or {}, reason, message, sessions.moment(obj, self._node))
        if new != obj.get("status"):
            await self._cluster.write_session_status(obj, new)
