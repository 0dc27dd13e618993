"""A run's status, written once a step and only if it changed; and what is written down before a start."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from stromboli import naming
from stromboli.grammar import duration
from stromboli.kube.client import Cluster
from stromboli.models.claude import ClaudeOptions
from stromboli.node.images import digest_of
from stromboli.observe import attempts
from stromboli.observe.sessions import Held
from stromboli.perform.notify import Notifier
from stromboli.perform.readiness import Ready
from stromboli.plan import mcp, progress
from stromboli.reasons import AllowedReason, Reason
from stromboli.status import run as states
from stromboli.status.run import Moment, Status
from stromboli.store import Store

Object = dict[str, Any]


class Reporter:
    """Writes the statuses of runs."""

    def __init__(self, cluster: Cluster, store: Store, notifier: Notifier, node: str) -> None:
        self._cluster = cluster
        self._store = store
        self._notifier = notifier
        self._node = node

    def latest(self, obj: Object) -> Object:
        """The run as last seen."""
        return self._store.get(obj["metadata"]["uid"]) or obj

    def moment(self, obj: Object) -> Moment:
        """Now, for this run."""
        return Moment(datetime.now(UTC), self._node, obj["metadata"].get("generation", 0))

    async def at(self, obj: Object, status: Mapping[str, Any], reason: Reason, message: str) -> Object:
        """Write that the run is now at `reason`, with all else that `status` tells. Raises as `write`."""
        return await self.write(obj, states.at(status, reason, message, self.moment(obj)))

    async def write(self, obj: Object, new: Status) -> Object:
        """Write the status, if it changed. The first one gives the run its place in its session's queue.

        Raises Conflict, Rejected, ClusterUnavailable.
        """
        if (choice := obj["spec"].get("session")) and "ticket" not in new.get("session", {}):
            place = {"name": choice["name"], "ticket": str(obj["metadata"]["resourceVersion"])}
            new = {**new, "session": {**place, **new.get("session", {})}}
        if new == (obj.get("status") or {}):
            return obj
        written = await self._cluster.write_status(obj, new)
        self._store.put(written)
        return written

    async def write_ahead(self, obj: Object, ready: Ready, held: Held, number: int) -> Object:
        """Write down the attempt that is about to be started. Raises as `write`."""
        moment = self.moment(obj)
        policy = ready.judged.policy
        reason, message = AllowedReason.Allowed, "every policy allows the image"
        if not policy.allowlists:
            reason, message = (
                AllowedReason.NoAllowlist,
                "no policy restricts images; an administrator should set one",
            )
            self._notifier.warn_of_no_allowlist(obj)
        status = states.allowed(obj.get("status") or {}, reason, message, moment)
        status = states.with_images(status, *_images(ready, held))
        if held.conversation is not None:
            has = {"uid": held.uid, "claudeSessionID": held.conversation.id}
            status["session"] = {**(status.get("session") or {}), **has}
        if servers := mcp.names((ready.judged.spec.claude or ClaudeOptions()).mcp_configs or []):
            status = states.with_mcp_servers(status, progress.pending(servers))
        attempt = {
            "number": number,
            "container": naming.container(held.uid),
            "bootID": attempts.boot_id(),
            "timeout": duration.format(ready.judged.request.timeout),
            "startedAt": moment.precise,
        }
        new = states.with_attempt(status, attempt)
        return await self.write(obj, states.at(new, Reason.Starting, "making and starting the container", moment))


def _images(ready: Ready, held: Held) -> tuple[dict[str, Any], dict[str, Any] | None]:
    reference = ready.judged.request.image
    image = {"reference": str(reference), "id": ready.image.id, "digest": digest_of(ready.image, reference)}
    made_of = held.container.image_id if held.container is not None else held.base
    if made_of != ready.image.id:
        image["containerImageID"] = made_of
    cli = ready.cli
    if cli is None:
        return _given(image), None
    return _given(image), _given({"reference": cli.reference, "id": cli.image_id, "digest": cli.digest})


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in fields.items() if v is not None}
