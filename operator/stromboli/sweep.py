"""What is on the node against what is in the cluster: at the start and every minute.

The node is listed before the cluster: whoever has something on the node by then had an object before that, so an owner
that is missing from the complete LIST is really gone. An incomplete LIST sweeps nothing.

The parts are independent: what Podman refuses in one is logged, does not stop the others, and is tried again by the
next regular sweep.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from stromboli.errors import PodmanError, PodmanUnavailable, StromboliError
from stromboli.heartbeat import beat
from stromboli.node.cleanup import Cleaner, Found, Inventory
from stromboli.node.cli import CLIMounts
from stromboli.node.images import Images
from stromboli.node.networks import Networks
from stromboli.node.stacks.stacks import Stacks
from stromboli.node.start_gate import StartGate
from stromboli.perform.notify import Notifier
from stromboli.survey import Known, Survey

log = logging.getLogger(__name__)

EVERY = 60.0
PATIENCE = 5.0  # seconds for which the start waits for Podman


@dataclass(frozen=True, slots=True)
class Shared:
    """What several runs, or all of a namespace, have in common, and what remains after the last of them."""

    images: Images
    mounts: CLIMounts
    networks: Networks
    notifier: Notifier
    gate: StartGate

    def forget_unused(self, namespaces: set[str]) -> None:
        """Forget what is remembered of ended pulls, and of all namespaces but these."""
        self.images.forget_pulls()
        self.notifier.forget_all_but(namespaces)
        self.gate.forget_all_but(namespaces)

    async def remove_unused(self, namespaces: set[str]) -> None:
        """Remove from the node what no run uses any more."""
        await _part("containers of CLI images that are no longer used", self.mounts.drop_unused())
        await _part("temporary containers through which files were read", self.images.remove_readers())
        await _part("records of images that are no longer there", self.images.forget_removed())
        await _part("networks of namespaces without runs", self.networks.clear(namespaces))


class Sweep:
    """Finds what events missed. What belongs to one object is left to that object's next pass."""

    def __init__(
        self,
        survey: Survey,
        inventory: Inventory,
        cleaner: Cleaner,
        shared: Shared,
        stacks: Stacks,
        check_images: Callable[[], Awaitable[None]],
    ) -> None:
        self._survey = survey
        self._inventory = inventory
        self._cleaner = cleaner
        self._shared = shared
        self._stacks = stacks
        self._check_images = check_images
        self._begun: tuple[Found, Known] | None = None
        self.problem: str | None = None  # of the last one; None if it could be completed

    async def begin(self) -> None:
        """List everything before the watch begins, which reports runs one by one: the order of a session's queue
        depends on all of them. The first sweep works with these lists.

        Raises ClusterUnavailable. If Podman does not answer, the first sweep lists everything again.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                found = await self._inventory.take()
        except (PodmanError, PodmanUnavailable, OSError) as error:  # OSError includes TimeoutError
            log.warning("the node is listed later: %s", str(error) or f"Podman did not answer in {PATIENCE:.0f} s")
            await self._survey.take()
        else:
            self._begun = found, await self._survey.take()

    async def attempt(self) -> bool:
        """One sweep; False if it could not be completed because the API server or Podman did not answer."""
        try:
            await self.once()
        except (StromboliError, OSError) as error:
            log.warning("the sweep has to wait: %s", error)
            self.problem = f"the last sweep could not be completed: {error}"
            return False
        self.problem = None
        return True

    async def once(self) -> None:
        """One sweep. Raises ClusterUnavailable, PodmanUnavailable, and PodmanError if the node cannot be listed."""
        found, known = self._begun or (await self._inventory.take(), await self._survey.take())
        self._begun = None
        for uid in found.everywhere - known.owners:
            self._survey.deleted(uid)
        for uid in found.needed_while_running & known.finished:
            await _part(f"what run {uid} leaves behind", self._cleaner.left_over(uid))
        for uid in found.running_stacks & (known.going | known.sessions):
            await _part(f"the stack of {uid}, which runs", self._stacks.adopt(uid))
        self._shared.forget_unused(known.namespaces)
        await self._shared.remove_unused(known.namespaces)
        await _part("the images of AgentImages", self._check_images())


async def _part(what: str, work: Awaitable[None]) -> None:
    beat()
    try:
        await work
    except PodmanError as error:
        log.warning("%s: left to the next sweep: %s", what, error)
