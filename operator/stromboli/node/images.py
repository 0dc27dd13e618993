"""Resolves a reference to an image on the node, pulling it if necessary, and inspects images.

Pulls run in the background (pulls.py); waiting runs get the progress. A pull is cancelled once the last run that waited
for it has ended. Nothing from an image is executed to inspect it.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from stromboli import naming
from stromboli.errors import ImageMissing, PodmanError, PullFailed
from stromboli.grammar.reference import Reference
from stromboli.inspection import configuration, startfiles
from stromboli.inspection.cache import ContentsCache, FactsCache
from stromboli.inspection.container import ContainerOpener, MountedOpener
from stromboli.inspection.contents import image_contents
from stromboli.inspection.facts import image_facts
from stromboli.inspection.opener import DEFAULT_PATH, ImageConfig, Opener
from stromboli.inspection.root import MountedRoot
from stromboli.models.agentpolicy import PullPolicy
from stromboli.node.access import Access
from stromboli.node.pulls import Observe, Pulls, first_accepted, is_meant, local_name, unobserved
from stromboli.plan import images as rules
from stromboli.plan import ownership
from stromboli.plan.compatibility import CLINeeds, ImageFacts
from stromboli.plan.contents import Contents
from stromboli.plan.pull_secrets import Keyring, Tenant
from stromboli.podman.images import ImageInfo, ImageSummary
from stromboli.podman.transport import Podman
from stromboli.registries import Registries
from stromboli.registry_problem import RegistryProblem

log = logging.getLogger(__name__)

FORGET_EVERY = 3600.0  # seconds between two looks for images that are gone: records are small
NOBODY = Tenant()  # who has no credentials


class Images:
    """The node's images. When a pull ends, `wake` is called with each UID that waited for it."""

    def __init__(
        self,
        podman: Podman,
        cache: Path,
        access: Access,
        installation: str,
        wake: Callable[[str], None],
        observe: Observe = unobserved,
    ) -> None:
        """`cache` is the folder in which findings are kept across restarts."""
        self._podman = podman
        self.access = access
        self._facts = FactsCache(cache / "images")
        self._contents = ContentsCache(cache / "contents")
        self._installation = installation
        self._registries = Registries()
        self._pulls = Pulls(podman, self._registries, access, wake, observe)
        self._next_look = time.monotonic()
        self.reading: set[str] = set()  # names of the temporary containers in use, here and by Conversations

    async def resolve(
        self, reference: Reference, policy: PullPolicy, wanted_by: str, tenant: Tenant = NOBODY
    ) -> ImageInfo:
        """The image that a reference currently means, known under the reference's own repository, if the tenant has
        access to it.

        `wanted_by` is the UID to wake at the end of a pull, or empty. Raises Pulling while the image is being pulled,
        ImageMissing if it may not be pulled, PullFailed, PodmanError, PodmanUnavailable, ClusterUnavailable, OSError.
        """
        always = policy is PullPolicy.Always and not rules.is_local(reference)
        found = None if always else await self.on_node(reference)
        if found is not None and self.access.is_open(found, reference):
            return found
        if found is None:
            _check_pull(reference, policy)
        keyring = await tenant.keys(reference)
        if found is None and (brought := self._pulls.brought(reference, keyring.credentials, wanted_by)) is not None:
            found = await self.on_node(reference)
            if found is None and await self.by_id(brought.id) is None:  # somebody has removed it since
                self._pulls.disregard(reference, keyring.credentials, wanted_by)
        if found is None or not self.access.is_open_to(found, reference, keyring.credentials):
            found = self._pulled(reference, policy, wanted_by, keyring, found)
        await self.access.use(tenant.namespace, found, reference)
        return found

    def _pulled(
        self, reference: Reference, policy: PullPolicy, wanted_by: str, keyring: Keyring, here: ImageInfo | None
    ) -> ImageInfo:
        """The image from its registry, or `here` if that shows it to the tenant."""
        may_pull = policy is not PullPolicy.Never
        try:
            image = self._pulls.pulled(reference, keyring.credentials, wanted_by, here, may_pull=may_pull)
        except PullFailed as failure:
            if failure.problem in (RegistryProblem.DENIED, RegistryProblem.NOT_FOUND):
                refused = failure.problem is RegistryProblem.DENIED
                if said := keyring.said(reference.registry, refused=refused):
                    raise PullFailed(f"{failure}; {said}", failure.problem, failure.retry_after) from None
                if here is not None and not may_pull:  # whoever has no credentials is not told that it is here
                    raise _never(reference) from None
            raise
        if not is_meant(image, reference):
            raise PullFailed(
                f"image {reference} was pulled, and Podman does not have it by that name", RegistryProblem.UNKNOWN
            )
        return image

    async def on_node(self, reference: Reference) -> ImageInfo | None:
        """The image of that name, if the node has it. Raises PodmanError, PodmanUnavailable.

        An image that Podman finds by the digest alone does not count: it may be another tenant's.
        """
        found = await self._podman.images.inspect(local_name(reference))
        return found if found is not None and is_meant(found, reference) else None

    async def all(self) -> tuple[ImageSummary, ...]:
        """All images of the node that have a name. Raises PodmanError, PodmanUnavailable."""
        return await self._podman.images.list()

    async def open_to(self, tenant: Tenant, reference: Reference) -> ImageInfo | None:
        """The image of that name, if the node has it and the tenant was shown to have access to it.

        Raises PodmanError, PodmanUnavailable, ClusterUnavailable, OSError.
        """
        found = await self.on_node(reference)
        if found is None or self.access.is_open(found, reference):
            return found
        keyring = await tenant.keys(reference)
        return found if self.access.is_open_to(found, reference, keyring.credentials) else None

    async def by_id(self, image_id: str) -> ImageInfo | None:
        """The image with that id, if it is on the node. Raises PodmanError, PodmanUnavailable."""
        return await self._podman.images.inspect(image_id)

    async def facts(self, image: ImageInfo, needs: CLINeeds, user: str = "") -> ImageFacts:
        """The facts about an image's contents; `user` works in it, if it is not the image's own.

        Raises PodmanError, PodmanUnavailable.
        """
        used = replace(image, user=user) if user else image
        return await self._facts.get(image.id, needs, lambda: self._find_facts(used, needs), user)

    def known_facts(self, image_id: str, needs: CLINeeds) -> ImageFacts | None:
        """The facts that were determined before, None if none were."""
        return self._facts.known(image_id, needs)

    def known_contents(self, image_id: str) -> Contents | None:
        """The contents that were determined before, None if none were."""
        return self._contents.known(image_id)

    async def contents(self, image: ImageInfo) -> Contents:
        """The operating system and the tools in an image. Raises PodmanError, PodmanUnavailable."""
        return await self._contents.get(image.id, lambda: self._find_contents(image))

    async def digest_in_registry(self, reference: Reference, tenant: Tenant = NOBODY) -> str:
        """The digest that a tag has now in its registry.

        Raises RegistryError, PodmanError, PodmanUnavailable, ClusterUnavailable.
        """
        keyring, conf = await tenant.keys(reference), await self._podman.registries()
        found, _ = await first_accepted(keyring.credentials, lambda own: self._registries.digest(reference, conf, own))
        return found

    def leave(self, uid: str) -> None:
        """The run of this UID needs no image any more: cancel the pulls that nobody else waits for."""
        self._pulls.leave(uid)

    async def close(self) -> None:
        """Cancel all pulls; Podman keeps the layers that are complete."""
        await self._pulls.close()

    async def remove_readers(self) -> None:
        """Remove temporary containers that a previous operator process left behind."""
        ours = {naming.INSTALLATION: self._installation, naming.ROLE: naming.ROLE_READER}
        for container in await self._podman.containers.list(ours):
            is_reader = ownership.is_reader(container.name, container.image_id, container.labels, self._installation)
            if is_reader and container.name not in self.reading:
                try:
                    await self._podman.containers.remove(container.id)
                except PodmanError as error:
                    log.warning("the temporary container %s could not be removed: %s", container.name, error)

    async def forget_removed(self) -> None:
        """Forget who has access to images that are no longer on the node; looked for once an hour.

        Raises PodmanError, PodmanUnavailable, OSError.
        """
        if time.monotonic() < self._next_look or not (before := self.access.recorded()):
            return
        await self.access.forget(before, await self.all())
        self._next_look = time.monotonic() + FORGET_EVERY

    def forget_pulls(self) -> None:
        """Forget pulls that ended a while ago: all waiting runs have had their result."""
        self._pulls.forget()

    async def _find_facts(self, image: ImageInfo, needs: CLINeeds) -> ImageFacts:
        async with self._opened(image) as (container, opener):
            if unstartable := await startfiles.problem(opener):
                return ImageFacts(unstartable=unstartable)
            facts = await image_facts(opener, needs, _config(image))
            home = facts.user.home if facts.user is not None else None
            found = await configuration.collect(self._podman, container, opener, image.env, home)
            return replace(
                facts, configuration=found.archive, managed=found.managed, configuration_problem=found.problem
            )

    async def _find_contents(self, image: ImageInfo) -> Contents:
        async with self._opened(image) as (_, opener):
            if await startfiles.problem(opener):
                return Contents()
            return await image_contents(opener, image.env)

    @asynccontextmanager
    async def _opened(self, image: ImageInfo) -> AsyncIterator[tuple[str, Opener]]:
        """The image's files, through a temporary container (its id comes first) that is never started."""
        name = f"{naming.reader(image.id)}-{uuid.uuid4().hex[:8]}"
        labels = {naming.INSTALLATION: self._installation, naming.ROLE: naming.ROLE_READER}
        self.reading.add(name)
        try:
            container = await self._podman.containers.create(never_started(name, image.id, labels))
            try:
                yield container, await self._opener(container)
            finally:
                await self._podman.containers.remove(container)
        finally:
            self.reading.discard(name)

    async def _opener(self, container: str) -> Opener:
        """Over the root as mounted on the node, or over the archive API if the operator cannot see the mount."""
        root = MountedRoot(Path(await self._podman.containers.mount(container)))
        if root.visible:
            return MountedOpener(self._podman, container, root)
        return ContainerOpener(self._podman, container)


def never_started(name: str, image_id: str, labels: Mapping[str, str]) -> dict[str, object]:
    """The create body of a container that is only inspected and never started."""
    return {
        "name": name,
        "image": image_id,
        "entrypoint": ["/never-started"],
        # Podman's archive API answers 500 if it cannot find the container's user; it does not look up a numeric one.
        "user": "0:0",
        "labels": dict(labels),
        "netns": {"nsmode": "none"},
        "image_volume_mode": "ignore",
    }


def _check_pull(reference: Reference, policy: PullPolicy) -> None:
    """Raises ImageMissing for an image that is not on the node and may not be pulled."""
    if rules.is_local(reference):
        raise ImageMissing(
            f"the image {reference} is not on the node, and localhost is no registry to pull it from; build or "
            "load it there under this name, or name an image of a registry",
        )
    if policy is PullPolicy.Never:
        raise _never(reference)


def _never(reference: Reference) -> ImageMissing:
    return ImageMissing(
        f"the image {reference} is not on the node, and its pull policy is Never; pull it there, or change the policy"
    )


def has_digest(image: ImageInfo, reference: Reference, digest: str) -> bool:
    """Whether the image has that digest in the reference's repository: an index and its image each have one."""
    return f"{reference.registry}/{reference.path}@{digest}" in image.repo_digests


def _config(image: ImageInfo) -> ImageConfig:
    path = next((e.removeprefix("PATH=") for e in image.env if e.startswith("PATH=")), DEFAULT_PATH)
    return ImageConfig(user=image.user, entrypoint=image.entrypoint, command=image.cmd, path=path)
