"""Writes a run's status, once per step and only if it changed, and records an attempt before its start."""

from __future__ import annotations

from datetime import UTC, datetime

from stromboli import naming
from stromboli.errors import Conflict
from stromboli.kube.client import Cluster
from stromboli.models.claude import ClaudeOptions
from stromboli.models.run import Run, RunStatus
from stromboli.node.pulls import digest_of
from stromboli.observe import attempts
from stromboli.observe.sessions import Held
from stromboli.perform.candidate import Ready
from stromboli.perform.notify import Notifier
from stromboli.plan import mcp, progress
from stromboli.reasons import AllowedReason, Reason
from stromboli.status import run as run_status
from stromboli.status.run import Moment, UsedImage
from stromboli.store import Store


class Reporter:
    """Writes the statuses of runs."""

    def __init__(self, cluster: Cluster, store: Store, notifier: Notifier, node: str) -> None:
        self._cluster = cluster
        self._store = store
        self._notifier = notifier
        self.node = node

    def latest(self, run: Run) -> Run:
        """The run as last seen."""
        return self._store.get(run.uid) or run

    async def check_not_withdrawn(self, run: Run) -> None:
        """Raises Conflict if the run has been canceled or deleted since it was read, as far as the watch has reported;
        ClusterUnavailable.
        """
        if self._store.is_deleted(run.uid):
            raise Conflict(f"{run.label} was deleted")
        if self._store.unread(run.uid) is None:
            return
        found = await self._cluster.run(run.namespace, run.name)
        if found is None or found.uid != run.uid or found.is_being_deleted or found.is_canceled:
            raise Conflict(f"{run.label} was canceled or deleted")

    def moment(self, run: Run) -> Moment:
        """Now, for this run."""
        return Moment(datetime.now(UTC), self.node, run.generation)

    async def at(self, run: Run, status: RunStatus, reason: Reason, message: str) -> Run:
        """Write that the run is now at `reason`, with everything else in `status`. Raises as `write`."""
        return await self.write(run, run_status.at(status, reason, message, self.moment(run)))

    async def write(self, run: Run, new: RunStatus) -> Run:
        """Write the status if it changed. The first write gives the run its place in its session's queue.

        Raises Conflict, Rejected, ClusterUnavailable.
        """
        if run.is_kept:
            new = run_status.in_queue(new, run.session, run.version)
        if new == run.status:
            return run
        written = await self._cluster.write_status(run, new)
        self._store.put(written)
        return written

    async def write_ahead(self, run: Run, ready: Ready, held: Held, number: int) -> Run:
        """Record the attempt that is about to be started. Raises as `write`."""
        moment = self.moment(run)
        policy = ready.judged.policy
        reason, message = AllowedReason.Allowed, "every policy allows the image"
        if not policy.allowlists:
            reason, message = (
                AllowedReason.NoAllowlist,
                "no policy restricts images; an administrator should set images.allowed in one",
            )
            self._notifier.warn_of_no_allowlist(run)
        status = run_status.allowed(run.status, reason, message, moment)
        status = run_status.with_images(status, *_images(ready, held))
        if held.conversation is not None:
            status = run_status.in_session(status, held.uid, held.conversation.id)
        if servers := mcp.names((ready.judged.spec.claude or ClaudeOptions()).mcp_configs or []):
            status = run_status.with_mcp_servers(status, progress.pending(servers))
        timeout = ready.judged.request.timeout
        new = run_status.begun(status, number, naming.agent(held.uid).name, attempts.boot_id(), timeout, moment)
        return await self.write(run, run_status.at(new, Reason.Starting, "creating and starting the container", moment))


def _images(ready: Ready, held: Held) -> tuple[UsedImage, UsedImage | None]:
    reference = ready.judged.request.image
    made_of = held.container.image_id if held.container is not None else held.base
    image = UsedImage(
        reference="" if reference is None else str(reference),
        id=ready.image.id,
        digest=None if reference is None else digest_of(ready.image, reference),
        made_of=made_of if made_of != ready.image.id else None,
    )
    cli = ready.cli
    return image, None if cli is None else UsedImage(cli.reference, cli.image_id, cli.digest)
