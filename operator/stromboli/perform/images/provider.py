"""Provides the image of an AgentImage on this node: admitted, pulled, inspected, judged. The result is an `Outcome`.

The order is that of a run's gates (perform/gates.py), and the sentences are the same: nothing is pulled that the
policies do not admit. Nothing is written here.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from pydantic import ValidationError

from stromboli.errors import (
    CLIUnavailable,
    ClusterUnavailable,
    NoSpace,
    PodmanError,
    PodmanUnavailable,
    PullFailed,
    Pulling,
    Refused,
    RegistryError,
)
from stromboli.grammar.reference import Reference
from stromboli.grammar.reference import parse as parse_reference
from stromboli.models.agentimage import AgentImageSpec
from stromboli.models.agentpolicy import PullPolicy
from stromboli.models.image import AgentImage, Held
from stromboli.models.sentences import sentence
from stromboli.node.cli import CLIMounts, MountedCLI
from stromboli.node.images import Images, has_digest
from stromboli.node.pulls import digest_of
from stromboli.observe import policy as policies
from stromboli.observe.pullsecrets import PullSecrets
from stromboli.observe.reads import ClusterReads
from stromboli.perform.images import describe
from stromboli.plan import admission, holding
from stromboli.plan import images as rules
from stromboli.plan.compatibility import CLINeeds, ImageFacts
from stromboli.plan.contents import Contents
from stromboli.plan.holding import Due
from stromboli.plan.policy import Effective
from stromboli.plan.pull_secrets import Tenant
from stromboli.plan.verdict import STOPPING, Refuse, Wait, verdict
from stromboli.podman.images import ImageInfo
from stromboli.reasons import AllowedReason, CompatibleReason, PresentReason, Reason
from stromboli.settings import Settings
from stromboli.status.image import Inspected, Outcome, Said

log = logging.getLogger(__name__)

INSPECTIONS = 4  # images that are inspected at a time
RETRY_REFUSED = 300.0  # seconds until a pull that the registry refused is tried again: the image may be pushed later
SLOT = "spec.image"

_READY = {
    Reason.InvalidSpec: PresentReason.InvalidSpec,
    Reason.ImageNotAllowed: PresentReason.ImageNotAllowed,
    Reason.PolicyViolation: PresentReason.PolicyViolation,
    Reason.ImagePullFailed: PresentReason.ImagePullFailed,
    Reason.Pulling: PresentReason.Pulling,
    Reason.RegistryUnavailable: PresentReason.RegistryUnavailable,
    Reason.NodeOutOfDisk: PresentReason.NodeOutOfDisk,
    Reason.PodmanUnavailable: PresentReason.PodmanUnavailable,
    Reason.WaitingForReference: PresentReason.PoliciesUnavailable,
}
# The image may be on the node all the same, since it is pulled again.
_PERHAPS_HERE = frozenset({PresentReason.Pulling, PresentReason.RegistryUnavailable, PresentReason.NodeOutOfDisk})
_DISALLOWED = {
    Reason.ImageNotAllowed: AllowedReason.ImageNotAllowed,
    Reason.PolicyViolation: AllowedReason.PolicyViolation,
}


def parse(image: AgentImage) -> AgentImageSpec:
    """The typed spec. Raises Refused(InvalidSpec)."""
    try:
        return AgentImageSpec.model_validate(image.spec)
    except ValidationError as error:
        raise Refused(Reason.InvalidSpec, sentence(error)) from error


class Provider:
    """Provides images; `retry` below is in seconds, None for "when something happens"."""

    def __init__(
        self,
        cluster: ClusterReads,
        settings: Settings,
        images: Images,
        mounts: CLIMounts,
        secrets: PullSecrets,
    ) -> None:
        self._cluster = cluster
        self._secrets = secrets
        self._settings = settings
        self._images = images
        self._mounts = mounts
        self._inspections = asyncio.Semaphore(INSPECTIONS)

    async def provide(self, image: AgentImage, due: Due) -> tuple[Outcome, float | None]:
        """One pass: the outcome, and the seconds until the next. `due` is asked about an image that is here."""
        outcome = Outcome(PresentReason.Pulling, "")
        try:
            spec = parse(image)
            effective = await policies.effective(self._cluster, self._settings, image.namespace)
            reference = admission.admit(spec.image, effective, SLOT)
            outcome = replace(outcome, reference=str(reference), allowed=_allowed(effective))
            wanted = _pull_policy(spec, effective)
            tenant = self._secrets.tenant(image.namespace, spec.image_pull_secrets, effective.pull_secrets)
            found, later = await self._resolved(reference, wanted, due, image.uid, tenant)
            if due is Due.REFRESH and wanted is PullPolicy.IfNotPresent:
                outcome = replace(outcome, moved=await self._moved(found, reference, tenant))
            outcome, again = await self._inspected(outcome, found, reference, effective, image)
            if later is None:
                return outcome, again
            # The end of a pull wakes the image.
            retry = None if later.reason is Reason.Pulling else later.delay
            return replace(outcome, waits=True), min((s for s in (again, retry) if s is not None), default=None)
        except (*STOPPING, ClusterUnavailable) as error:
            stopped, again = _stopped(outcome, error)
            return replace(stopped, still_here=await self._still_here(image, stopped)), again

    async def _resolved(
        self, reference: Reference, wanted: PullPolicy, due: Due, uid: str, tenant: Tenant
    ) -> tuple[ImageInfo, Wait | None]:
        """The image; and if it is to be pulled anew, what that still waits for.

        An image that is here stays Present whatever comes of its refresh. One that is to be pulled for the first time
        is not, unless its registry has no such image.
        """
        if wanted is PullPolicy.Always and due is Due.NOTHING:
            wanted = PullPolicy.IfNotPresent
        try:
            return await self._images.resolve(reference, wanted, uid, tenant), None
        except (Pulling, PullFailed, NoSpace) as error:
            said = verdict(error)
            waits = said if isinstance(said, Wait) else None
            if wanted is not PullPolicy.Always or (due is Due.PULL and waits is not None):
                raise
            if (here := await self._images.open_to(tenant, reference)) is None:
                raise
            return here, waits

    async def _inspected(
        self, outcome: Outcome, found: ImageInfo, reference: Reference, effective: Effective, image: AgentImage
    ) -> tuple[Outcome, float | None]:
        cli, missing = await self._cli(effective, image.namespace)
        needs = cli.needs if cli is not None else CLINeeds()
        async with self._inspections:
            facts = await self._images.facts(found, needs)
            contents = await self._images.contents(found)
        digest = _digest(found, reference, image.status.held.get(self._settings.node))
        here = f"{reference} is on node {self._settings.node}"
        outcome = replace(outcome, ready=PresentReason.Present, message=here)
        if missing is not None:
            said = Said(CompatibleReason.CLIImageUnavailable, str(missing))
            return replace(
                outcome, compatible=said, inspected=_seen(found, digest, facts, contents, None)
            ), missing.delay
        suited = holding.suitability(facts, None if cli is None else needs, found.labels)
        reason = CompatibleReason.OwnCLI if suited.own_cli else CompatibleReason.Compatible
        if not suited.verdict.ok:
            reason = CompatibleReason.ImageIncompatible
        return replace(
            outcome,
            compatible=Said(reason, suited.verdict.message),
            inspected=_seen(found, digest, facts, contents, suited.rank),
            untrue=holding.untrue_labels(facts, contents, suited, found.labels),
        ), None

    async def _still_here(self, image: AgentImage, stopped: Outcome) -> bool:
        """Whether the node still has what the status says it has, while a newer one is pulled or cannot be.

        Podman moves the name to the newer one before the pull ends; the pass after that reports what has changed.
        """
        held = image.status.held.get(self._settings.node)
        if stopped.ready not in _PERHAPS_HERE or held is None or not held.id:
            return False
        try:
            found = await self._images.on_node(parse_reference(stopped.reference))
        except (PodmanError, PodmanUnavailable):
            return False
        return found is not None and (found.id == held.id or stopped.ready is PresentReason.Pulling)

    async def _moved(self, found: ImageInfo, reference: Reference, tenant: Tenant) -> str:
        """The digest that the tag has in its registry by now; empty if the node has that image, or nothing can be said.

        Whether a registry answers does not matter to an image that is here, so that is only logged.
        """
        if reference.digest is not None or rules.is_local(reference):
            return ""
        try:
            digest = await self._images.digest_in_registry(reference, tenant)
        except RegistryError as problem:
            log.info("whether the tag of %s has moved is not known: %s", reference, problem)
            return ""
        return "" if has_digest(found, reference, digest) else digest

    async def _cli(self, effective: Effective, namespace: str) -> tuple[MountedCLI | None, CLIUnavailable | None]:
        """The mounted CLI, or why there is none yet; neither if images bring their own.

        A newer one is not looked for: that is for the runs. Nor does the AgentImage wait for its pull, which goes on
        whatever becomes of the AgentImage's own.
        """
        cli = effective.cli
        if cli.pull is PullPolicy.Always:
            cli = replace(cli, pull=PullPolicy.IfNotPresent)
        tenant = self._secrets.tenant(namespace, None, effective.pull_secrets)
        try:
            return await self._mounts.ready(cli, "", tenant), None
        except CLIUnavailable as missing:
            return None, missing


def _pull_policy(spec: AgentImageSpec, effective: Effective) -> PullPolicy:
    """The object's own choice, and otherwise that of the policies. If they pull nothing, nobody else does."""
    if effective.pull_policy is PullPolicy.Never:
        return PullPolicy.Never
    return spec.pull_policy or effective.pull_policy


def _allowed(effective: Effective) -> Said:
    if not effective.allowlists:
        return Said(AllowedReason.NoAllowlist, "no policy restricts images; an administrator should set one")
    return Said(AllowedReason.Allowed, "every policy of the namespace allows the image")


def _stopped(outcome: Outcome, error: Exception) -> tuple[Outcome, float | None]:
    """The outcome if the image is not here, or nothing could be determined."""
    if isinstance(error, PullFailed):
        outcome = replace(outcome, problem=error.problem)
    match verdict(error):
        case Refuse(reason, message):
            said = Said(_DISALLOWED[reason], message) if reason in _DISALLOWED else outcome.allowed
            retry = RETRY_REFUSED if reason is Reason.ImagePullFailed else None
            return replace(outcome, ready=_READY[reason], message=message, allowed=said), retry
        case Wait(reason, message, delay):
            return replace(outcome, ready=_READY[reason], message=message, waits=True), delay
        case other:
            raise AssertionError(f"{other} cannot be said of an image")


def _digest(found: ImageInfo, reference: Reference, held: Held | None) -> str:
    """The image's digest in its repository: the one that the status has, if it is still one of the image's.

    Podman names an image by each of its digests in each of its repositories, so another name may bring another digest.
    """
    if held is not None and held.id == found.id and held.digest and has_digest(found, reference, held.digest):
        return held.digest
    return digest_of(found, reference) or ""


def _seen(found: ImageInfo, digest: str, facts: ImageFacts, contents: Contents, rank: int | None) -> Inspected:
    entry = {"digest": digest, **describe.details(found, facts, contents)}
    present = {key: value for key, value in entry.items() if value not in ("", None)}
    return Inspected(present, rank, describe.summary(found.size, (facts, contents)))
