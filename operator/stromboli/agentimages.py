"""One pass over one AgentImage: its image is provided on this node, and its status kept true.

Passes are made when the object, a policy or a pull changes, at the object's refresh times, and when a check of all
images (at the start and every minute) finds that the node no longer has what a status says, or that the labels of a
namespace, by which policies select it, have changed. A pass that finds nothing new writes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from stromboli.errors import Conflict, InvalidInput, PodmanError, Refused, Rejected
from stromboli.grammar import duration, reference, times
from stromboli.kube.client import Cluster
from stromboli.models.agentimage import AgentImageSpec
from stromboli.models.agentpolicy import PullPolicy
from stromboli.models.image import AgentImage
from stromboli.models.objects import Object
from stromboli.node.images import Images
from stromboli.observe.index import Index
from stromboli.perform.images.provider import Provider, parse
from stromboli.perform.images.removal import Removals
from stromboli.perform.images.report import ImageReporter
from stromboli.plan import holding
from stromboli.plan.holding import Due
from stromboli.reasons import PresentReason
from stromboli.status.image import Outcome

# Nobody looks whether the node has these; a change of the policies or of the spec leads to the next pass.
NOT_LOOKED_FOR = frozenset({PresentReason.ImageNotAllowed, PresentReason.PolicyViolation, PresentReason.InvalidSpec})

RECORD_AGAIN = 10.0  # seconds after which it is tried again to write what cannot be written to the disk

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a registry was asked about an object of this generation: how many refreshes are done, None if not even the
    first question is. After a restart, the refreshes that were due meanwhile count as done.
    """

    generation: int
    refreshes: int | None


class AgentImages:
    """Keeps the AgentImages of a cluster true, as far as this node is concerned."""

    def __init__(
        self,
        cluster: Cluster,
        images: Images,
        provider: Provider,
        removals: Removals,
        reporter: ImageReporter,
        wake: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._images = images
        self._provider = provider
        self._removals = removals
        self._reporter = reporter
        self._wake = wake
        self._index: Index[AgentImage] = Index(cluster.image, cluster.images)
        self._written: dict[str, str] = {}  # the version of each object that was written here last
        self._asked: dict[str, _Asked] = {}
        # The id of what was on the node when an object was woken for it, for those that it has not become Present for.
        self._woken_for: dict[str, str] = {}
        self._labels: dict[str, Mapping[str, str]] = {}  # of each namespace at the last check

    def knows(self, uid: str) -> bool:
        """Whether it is the UID of an AgentImage."""
        return uid in self._index

    def hear(self, obj: Object) -> None:
        """Wake the object that the watch reports, unless it is the echo of a write from here."""
        if self._written.get(self._index.add(obj)) != obj.version:
            self._wake(obj.uid)

    def wake_all(self) -> None:
        """Wake all of them, because a policy has changed."""
        for uid in self._index.uids():
            self._wake(uid)

    async def reconcile(self, uid: str) -> float | None:
        """One pass; seconds until the next, None for "when something happens".

        Raises ClusterUnavailable, PodmanError, PodmanUnavailable, OSError: then it is to be tried again.
        """
        image = await self._index.find(uid)
        if image is None or image.is_being_deleted:
            self._images.leave(uid)
            self._asked.pop(uid, None)
            self._written.pop(uid, None)
            self._woken_for.pop(uid, None)
            if image is None:
                await self._removals.gone(uid)
            return None
        try:
            return await self._pass(image)
        except Conflict:
            return 0.0
        except Rejected as error:
            log.warning("AgentImage %s: its status cannot be written: %s", image.label, error)
            return None

    async def check(self) -> None:
        """Wake those whose status is not what is on the node, whose object is gone, or for whom other policies may hold
        because their namespace's labels have changed.

        Raises ClusterUnavailable, PodmanUnavailable.
        """
        known = set(self._index.uids()) | self._removals.pending()
        here: dict[str, str | None] = {}
        labels: dict[str, Mapping[str, str]] = {}
        async for image in self._cluster.images():
            known.discard(self._index.add(image))
            if image.namespace not in labels:
                labels[image.namespace] = await self._cluster.namespace_labels(image.namespace)
            held = image.status.held.get(self._reporter.node)
            now = labels[image.namespace]
            relabeled = self._labels.get(image.namespace, now) != now
            if relabeled or held is None or image.status.generation != image.generation:
                self._wake(image.uid)
                continue
            if image.status.reason in NOT_LOOKED_FOR:
                continue
            if image.reference not in here:
                here[image.reference] = await self._id_of(image.reference)
            found = here[image.reference]
            if found not in (held.id, None, self._woken_for.get(image.uid)):
                self._woken_for[image.uid] = found
                self._wake(image.uid)
        self._labels = labels
        for uid in known:
            self._wake(uid)

    async def _id_of(self, written: str) -> str | None:
        """The id of the image that a reference names on the node; empty if there is none, None if Podman refuses."""
        try:
            found = await self._images.on_node(reference.parse(written))
        except InvalidInput:
            return ""
        except PodmanError as error:
            log.warning("whether the image %s is on the node is left to the next check: %s", written, error)
            return None
        return "" if found is None else found.id

    async def _pass(self, image: AgentImage) -> float | None:
        spec = _read(image)
        due, number = (Due.NOTHING, 0) if spec is None else self._due(image, spec)
        outcome, again = await self._provider.provide(image, due)
        if spec is not None:
            try:
                self._removals.note(image, spec, outcome.reference, outcome.inspected)
            except OSError as error:
                log.warning("AgentImage %s: whether its image goes with it is recorded later: %s", image.label, error)
                again = RECORD_AGAIN if again is None else min(again, RECORD_AGAIN)
        if outcome.inspected is not None:
            self._woken_for.pop(image.uid, None)
        if not outcome.waits:
            self._images.leave(image.uid)  # so that nothing is pulled that is no longer allowed; the next refresh pulls
            if due is not Due.NOTHING and outcome.ready not in NOT_LOOKED_FOR:
                self._asked[image.uid] = _Asked(image.generation, number)
        self._written[image.uid] = (await self._reporter.report(image, outcome)).version
        return again if again is not None else self._until_refresh(image, spec, outcome)

    def _due(self, image: AgentImage, spec: AgentImageSpec) -> tuple[Due, int]:
        """What is due now, and how many refreshes are done once that is."""
        now = holding.refreshes_due(image.uid, times.from_text(image.created), _interval(spec), datetime.now(UTC))
        if (known := self._asked.get(image.uid)) is None or known.generation != image.generation:
            processed = (
                image.status.generation == image.generation
                and self._reporter.node in image.status.held
                and image.status.reason != PresentReason.Pulling
            )
            known = self._asked[image.uid] = _Asked(image.generation, now if processed else None)
        if known.refreshes is None:
            return Due.PULL, now
        return (Due.REFRESH if now > known.refreshes else Due.NOTHING), now

    def _until_refresh(self, image: AgentImage, spec: AgentImageSpec | None, outcome: Outcome) -> float | None:
        if spec is None or outcome.ready is not PresentReason.Present or spec.pull_policy is PullPolicy.Never:
            return None
        if reference.parse(spec.image).digest is not None:
            return None
        return holding.until_refresh(image.uid, times.from_text(image.created), _interval(spec), datetime.now(UTC))


def _read(image: AgentImage) -> AgentImageSpec | None:
    try:
        return parse(image)
    except Refused:  # the outcome says so
        return None


def _interval(spec: AgentImageSpec) -> float:
    return holding.REFRESH if spec.refresh is None else duration.parse(spec.refresh)
