"""Removes the image of a deleted AgentImage that asked for it, unless something else uses it."""

from __future__ import annotations

import logging

from stromboli.errors import InvalidInput, PodmanError, Refused
from stromboli.grammar import reference
from stromboli.models.agentimage import AgentImageSpec, DeletionPolicy
from stromboli.models.image import AgentImage
from stromboli.models.objects import fields, text
from stromboli.node.holdings import Holding, Holdings
from stromboli.node.pulls import local_name
from stromboli.observe import policy as policies
from stromboli.observe.reads import ClusterReads
from stromboli.podman.transport import Podman
from stromboli.settings import Settings
from stromboli.status.image import Inspected
from stromboli.store import Store

log = logging.getLogger(__name__)


class Removals:
    """Removes images with their objects."""

    def __init__(
        self, cluster: ClusterReads, settings: Settings, store: Store, podman: Podman, holdings: Holdings
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._store = store
        self._podman = podman
        self._holdings = holdings
        self._node = settings.node

    def note(self, image: AgentImage, spec: AgentImageSpec, full: str, seen: Inspected | None) -> None:
        """Record whether the image goes with its object. `full` is its full reference. Raises OSError."""
        if spec.deletion_policy is not DeletionPolicy.delete:
            self._holdings.forget(image.uid)
        elif seen is not None:
            self._holdings.keep(image.uid, Holding(full, text(seen.entry.get("id")), image.label))

    def pending(self) -> set[str]:
        """The UIDs of all objects whose image goes with them."""
        return self._holdings.uids()

    async def gone(self, uid: str) -> None:
        """The object no longer exists. Raises ClusterUnavailable, PodmanUnavailable, OSError.

        An image that is in use stays, and for good: its other users did not ask for its removal.
        """
        held = self._holdings.find(uid)
        if held is not None:
            if user := await self._user(held):
                log.info("the image %s stays, although AgentImage %s is deleted: %s", held.reference, held.label, user)
            else:
                await self._remove(held)
        self._holdings.forget(uid)

    async def _remove(self, held: Holding) -> None:
        name = local_name(reference.parse(held.reference))
        try:
            await self._podman.copies.remove(name)
        except PodmanError as error:  # a container uses it, a stopped session's for example
            log.info("the image %s stays, although AgentImage %s is deleted: %s", held.reference, held.label, error)
            return
        log.info("removed the image %s together with AgentImage %s", held.reference, held.label)

    async def _user(self, held: Holding) -> str:
        """What else uses the image, for the log; empty if nothing does. Raises ClusterUnavailable."""
        if owner := await self._default_of(held):
            return f"runs that name no image get it by {owner}"
        async for other in self._cluster.images():
            if not other.is_being_deleted and (_names(other.reference, held) or _has(other, self._node, held)):
                return f"AgentImage {other.label} uses it"
        async for session in self._cluster.sessions():
            if session.status.image == held.id and not session.is_being_deleted:
                return f"AgentSession {session.label} uses it"
        for run in self._store.unfinished():
            used = text(fields(run.status.wire.get("image")).get("id"))
            if used == held.id or _names(text(run.spec.get("image")) or await self._default(run.namespace), held):
                return f"AgentRun {run.label} uses it"
        return ""

    async def _default_of(self, held: Holding) -> str:
        """Who has the image as the default of runs, which may begin at any time; empty if nobody does."""
        if _names(self._settings.image or "", held):
            return "the operator's settings"
        for policy in await self._cluster.policies():
            try:
                rules = policies.parse(policy)
            except Refused:  # then no run can start
                continue
            if rules.spec.defaults is not None and _names(rules.spec.defaults.image or "", held):
                return rules.owner
        return ""

    async def _default(self, namespace: str) -> str:
        """The image of the namespace's runs that name none; empty if there is none. Raises ClusterUnavailable."""
        try:
            return (await policies.effective(self._cluster, self._settings, namespace)).image or ""
        except Refused:  # then no run can start
            return ""


def _has(image: AgentImage, node: str, held: Holding) -> bool:
    """Whether another AgentImage has the same image, under another name."""
    here = image.status.held.get(node)
    return here is not None and here.id == held.id


def _names(written: str, held: Holding) -> bool:
    try:
        return str(reference.parse(written)) == held.reference
    except InvalidInput:
        return False
