"""One turn over all policies: what each of them comes to beside the others, written into its status if that changed.

A contradiction is between objects, so every event about one has all of them looked at: one LIST a turn, and a write
for each status that is not what it should be.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from stromboli.errors import Conflict, Refused, Rejected
from stromboli.grammar import times
from stromboli.kube.client import Cluster
from stromboli.observe import policy
from stromboli.plan import contradictions
from stromboli.plan.policy import Policy
from stromboli.status import policy as states

log = logging.getLogger(__name__)
EVERY_POLICY = "policies"  # the one key of its queue


class PolicyStatuses:
    """Keeps the statuses of policies true."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def turn(self, _: str) -> float | None:
        """One turn; seconds until the next, None for "when something happens". Raises ClusterUnavailable."""
        found = {obj["metadata"]["name"]: obj for obj in await self._cluster.policies()}
        # In a thread: hundreds of patterns may have to be compared with hundreds of others.
        verdicts = await asyncio.to_thread(contradictions.judge, {name: _read(obj) for name, obj in found.items()})
        again = None
        for name, verdict in verdicts.items():
            obj = found[name]
            old, generation = obj.get("status") or {}, obj["metadata"].get("generation", 0)
            new = states.of(old, verdict, generation=generation, now=times.to_text(datetime.now(UTC)))
            if new == old:
                continue
            try:
                await self._cluster.write_policy_status(obj, new)
            except Conflict:
                again = 0.0
            except Rejected as error:
                log.warning("the status of AgentPolicy %s cannot be written: %s", name, error)
        return again


def _read(obj: Mapping[str, Any]) -> Policy | Refused:
    try:
        return policy.parse(obj)
    except Refused as refusal:
        return refusal
