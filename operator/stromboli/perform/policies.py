"""One pass over all policies: checks each of them together with the others, and updates its status if it changed.

A contradiction is between objects, so every event about one policy leads to a check of all: one LIST per pass, and one
write for each status that is out of date.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from stromboli.errors import Conflict, Refused, Rejected
from stromboli.grammar import times
from stromboli.kube.client import Cluster
from stromboli.models.policy import Policy
from stromboli.observe import policy
from stromboli.plan import contradictions
from stromboli.plan.policy import Rules
from stromboli.status import policy as policy_status

log = logging.getLogger(__name__)
EVERY_POLICY = "policies"  # the one key of its queue


class PolicyStatuses:
    """Keeps the statuses of policies up to date."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def reconcile(self, _: str) -> float | None:
        """One pass; seconds until the next, None for "when something happens". Raises ClusterUnavailable."""
        found = {policy.name: policy for policy in await self._cluster.policies()}
        # In a thread: hundreds of patterns may have to be compared with hundreds of others.
        verdicts = await asyncio.to_thread(contradictions.judge, {name: _read(one) for name, one in found.items()})
        again = None
        for name, verdict in verdicts.items():
            one, now = found[name], times.to_text(datetime.now(UTC))
            new = policy_status.of(one.status, verdict, generation=one.generation, now=now)
            if new == one.status:
                continue
            try:
                await self._cluster.write_status(one, new)
            except Conflict:
                again = 0.0
            except Rejected as error:
                log.warning("the status of AgentPolicy %s cannot be written: %s", name, error)
        return again


def _read(one: Policy) -> Rules | Refused:
    try:
        return policy.parse(one)
    except Refused as refusal:
        return refusal
