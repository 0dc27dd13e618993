"""Removes what a session's stack has beside its containers: networks, volumes, built images.

Only objects that are ours by name and labels (plan/ownership.py). All removals are idempotent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial

from stromboli import naming
from stromboli.attempt.site import Site
from stromboli.errors import PodmanError
from stromboli.plan import ownership
from stromboli.plan.stack import names as stack_names
from stromboli.podman.copies import Copy
from stromboli.podman.networks import NetworkInfo
from stromboli.podman.transport import Podman
from stromboli.podman.volumes import VolumeInfo


class StackRemains:
    """What stacks have on this node beside containers."""

    def __init__(self, podman: Podman, site: Site) -> None:
        self._podman = podman
        self._site = site

    async def remove(self, uid: str) -> None:
        """Remove everything that the stack of this session has; its containers are gone already.

        What Podman cannot remove does not keep the rest. Raises PodmanError, PodmanUnavailable.
        """
        labels = self._site.owner_labels(uid)
        networks, volumes, images = await asyncio.gather(
            self._podman.networks.list(labels), self._podman.volumes.list(labels), self._podman.copies.images(labels)
        )
        ours = self._site.installation
        begun = {network.labels.get(naming.STACK_NETWORK, "") for network in networks}
        begun |= {image.labels.get(naming.SERVICE, "") for image in images}
        for service in filter(None, map(stack_names.built_with, begun)):  # a build that has not been ended
            await self._podman.builds.clear(stack_names.image(uid, service))
        removals = [
            partial(self._podman.networks.remove, network.name)
            for network in networks
            if ownership.session_of_stack_network(network.name, network.labels, ours) == uid
        ]
        removals += [
            partial(self._podman.volumes.remove, volume.name)
            for volume in volumes
            if ownership.session_of_stack_volume(volume.name, volume.labels, ours) == uid
        ]
        for image in images:
            # What Podman has left of a build that was not ended goes with the copies that it began with.
            force = stack_names.built_with(image.labels.get(naming.SERVICE, "")) is not None
            removals += [
                partial(self._podman.copies.remove, name, force=force)
                for name in ownership.builds_of(image.names, image.labels, ours)
            ]
            if ownership.former_build_of(image.names, image.labels, ours) == uid:
                removals.append(partial(self._podman.copies.remove, image.id, force=force))
        failure: PodmanError | None = None
        for removal in removals:
            try:
                await removal()
            except PodmanError as error:
                failure = error
        if failure is not None:
            raise failure


def owners(
    networks: Iterable[NetworkInfo], volumes: Iterable[VolumeInfo], images: Iterable[Copy], installation: str
) -> set[str]:
    """UIDs of all sessions that have one of these objects for a stack."""
    found = {ownership.session_of_stack_network(one.name, one.labels, installation) for one in networks}
    found |= {ownership.session_of_stack_volume(one.name, one.labels, installation) for one in volumes}
    for image in images:
        found |= {*ownership.builds_of(image.names, image.labels, installation).values()}
        found.add(ownership.former_build_of(image.names, image.labels, installation))
    return {uid for uid in found if uid is not None}
