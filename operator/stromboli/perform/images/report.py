"""The one writer of AgentImages' statuses, which it writes only if they changed; and the events about them."""

from __future__ import annotations

from datetime import UTC, datetime

from stromboli.event_reasons import EventReason
from stromboli.kube.client import Cluster
from stromboli.models.image import AgentImage
from stromboli.models.objects import text
from stromboli.perform.notify import Notifier
from stromboli.reasons import PresentReason
from stromboli.status import image as transitions
from stromboli.status.image import Outcome
from stromboli.status.run import Moment


class ImageReporter:
    """Writes the statuses of AgentImages; `node` is this node's name."""

    def __init__(self, cluster: Cluster, notifier: Notifier, node: str) -> None:
        self._cluster = cluster
        self._notifier = notifier
        self.node = node

    async def report(self, image: AgentImage, outcome: Outcome) -> AgentImage:
        """Write the status, and emit an event for what is new; returns the object as it is then.

        Raises Conflict, Rejected, ClusterUnavailable.
        """
        if outcome.moved:
            message = (
                f"{outcome.reference} is {outcome.moved} in its registry by now; node {self.node} has "
                f"{_digest(outcome)}; to follow the tag, set spec.pullPolicy to Always"
            )
            self._notifier.emit(image, EventReason.DigestChanged, message, key=f"registry/{outcome.moved}")
        new = transitions.after(image.status, outcome, Moment(datetime.now(UTC), self.node, image.generation))
        if new == image.status:
            return image
        written = await self._cluster.write_status(image, new)
        self._announce(image, written, outcome)
        return written

    def _announce(self, before: AgentImage, image: AgentImage, outcome: Outcome) -> None:
        if image.status.reason != before.status.reason:
            failed = outcome.ready not in (PresentReason.Present, PresentReason.Pulling)
            self._notifier.emit_reason(image, outcome.ready, outcome.message, warning=failed, key=image.version)
        if outcome.inspected is None:
            return
        old, new = before.status.held.get(self.node), _digest(outcome)
        if old is not None and old.digest and new and old.digest != new:
            message = f"{outcome.reference} is now {new} on node {self.node}; it was {old.digest}"
            self._notifier.emit(image, EventReason.DigestChanged, message, key=new)
        if old is None or old.digest != new:
            for number, sentence in enumerate(outcome.untrue):
                self._notifier.emit(image, EventReason.LabelUntrue, sentence, key=f"{new}/{number}")


def _digest(outcome: Outcome) -> str:
    """The digest of the image that is on the node."""
    return "" if outcome.inspected is None else text(outcome.inspected.entry.get("digest"))
