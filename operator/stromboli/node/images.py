"""A reference → the image that is on the node, pulled if need be, and what is inside it.

Pulls go on in the background, one a reference, however many runs want it; a run that waits for one is told how
far it is. Nothing of an image is executed to look into it.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from stromboli import naming
from stromboli.errors import ImageMissing, PodmanError, PullFailed, Pulling
from stromboli.grammar.reference import Reference
from stromboli.inspection import configuration, startfiles
from stromboli.inspection.cache import FactsCache
from stromboli.inspection.container import ContainerOpener
from stromboli.inspection.look import look
from stromboli.inspection.opener import DEFAULT_PATH, ImageConfig
from stromboli.models.agentpolicy import PullPolicy
from stromboli.plan import images as rules
from stromboli.plan import ownership
from stromboli.plan.compatibility import CLINeeds, ImageFacts
from stromboli.podman.images import ImageInfo
from stromboli.podman.transport import Podman

log = logging.getLogger(__name__)

# A failed pull is everybody's answer for so long; then the next one who wants the image asks again.
REMEMBER_FAILURE = 5.0
REMEMBER_PULL = (
    300.0  # so long is a pull known that has ended: by the policy Always, each run has its image pulled once
)


@dataclass(slots=True)
class _Pull:
    task: asyncio.Task[ImageInfo]
    began: float
    before: PullFailed | None  # why the one before failed, which is what there is to say until bytes arrive
    progress: str = ""
    ended: float | None = None
    seen_by: set[str] = field(default_factory=set)

    @property
    def succeeded(self) -> bool:
        return self.task.done() and self.failure is None

    @property
    def failure(self) -> BaseException | None:
        """Why it failed, if it did; an answer of the registry's, such as "no such image", counts as well."""
        if not self.task.done():
            return None
        return asyncio.CancelledError() if self.task.cancelled() else self.task.exception()


class Images:
    """The node's images. When a pull has ended, `wake` is called with each UID that waited for it."""

    def __init__(self, podman: Podman, cache: FactsCache, installation: str, wake: Callable[[str], None]) -> None:
        self._podman = podman
        self._cache = cache
        self._installation = installation
        self._wake = wake
        self._pulls: dict[str, _Pull] = {}
        self._looking: set[str] = set()  # names of the throw-away containers that are in use

    async def resolve(self, reference: Reference, policy: PullPolicy, wanted_by: str) -> ImageInfo:
        """The image that a reference means now: one that the reference's own repository knows.

        `wanted_by` is the UID of whoever is woken at a pull's end, empty for nobody.
        Raises Pulling while it is being pulled, ImageMissing where it may not be, PullFailed, PodmanError,
        PodmanUnavailable.
        """
        name = local_name(reference)
        here = policy is not PullPolicy.Always or rules.is_local(reference) or self._has_pulled(name, wanted_by)
        if here and (found := await self.on_node(reference)) is not None:
            return found
        if rules.is_local(reference):
            raise ImageMissing(
                f"the image {reference} is not on the node, and localhost is no registry to pull it from; build or "
                "load it there under this name, or name an image of a registry",
            )
        if policy is PullPolicy.Never:
            raise ImageMissing(
                f"the image {reference} is not on the node, and its pull policy is Never; "
                "pull it there, or change the policy",
            )
        pulled = await self._pull(name, wanted_by)
        if not is_meant(pulled, reference):
            raise PullFailed(f"image {reference} was pulled, and Podman does not have it by that name", permanent=False)
        return pulled

    async def on_node(self, reference: Reference) -> ImageInfo | None:
        """The image of that name, if the node has it. Raises PodmanError, PodmanUnavailable.

        What Podman finds by a digest alone is not told: it may be another tenant's.
        """
        found = await self._podman.images.inspect(local_name(reference))
        return found if found is not None and is_meant(found, reference) else None

    async def by_id(self, image_id: str) -> ImageInfo | None:
        """An image that is on the node. Raises PodmanError, PodmanUnavailable."""
        return await self._podman.images.inspect(image_id)

    async def facts(self, image: ImageInfo, needs: CLINeeds) -> ImageFacts:
        """What is inside an image. Raises PodmanError, PodmanUnavailable."""
        return await self._cache.get(image.id, needs, lambda: self._look(image, needs))

    async def close(self) -> None:
        """Break off every pull: Podman keeps the layers that it has."""
        tasks = [p.task for p in self._pulls.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def drop_looks(self) -> None:
        """Remove throw-away containers that an operator before us left."""
        ours = {naming.INSTALLATION: self._installation, naming.ROLE: naming.ROLE_LOOK}
        for container in await self._podman.containers.list(ours):
            is_look = ownership.is_look(container.name, container.image_id, container.labels, self._installation)
            if is_look and container.name not in self._looking:
                try:
                    await self._podman.containers.remove(container.id)
                except PodmanError as error:
                    log.warning("the container %s, which is only looked into, stays for now: %s", container.name, error)

    def forget_pulls(self) -> None:
        """Those that have ended a while ago: whoever waited for one has had its answer."""
        now = time.monotonic()
        for name, pull in list(self._pulls.items()):
            if pull.ended is not None and now - pull.ended > REMEMBER_PULL:
                del self._pulls[name]

    async def _look(self, image: ImageInfo, needs: CLINeeds) -> ImageFacts:
        name = f"{naming.look(image.id)}-{uuid.uuid4().hex[:8]}"
        labels = {naming.INSTALLATION: self._installation, naming.ROLE: naming.ROLE_LOOK}
        self._looking.add(name)
        try:
            container = await self._podman.containers.create(never_started(name, image.id, labels))
            try:
                if unstartable := await startfiles.problem_in(self._podman, container):
                    return ImageFacts(unstartable=unstartable)
                opener = ContainerOpener(self._podman, container)
                facts = await look(opener, needs, _config(image))
                home = facts.user.home if facts.user is not None else None
                found = await configuration.collect(self._podman, container, opener, image.env, home)
                return replace(
                    facts, configuration=found.archive, managed=found.managed, configuration_problem=found.problem
                )
            finally:
                await self._podman.containers.remove(container)
        finally:
            self._looking.discard(name)

    def _has_pulled(self, name: str, wanted_by: str) -> bool:
        pull = self._pulls.get(name)
        return pull is not None and pull.succeeded and wanted_by in pull.seen_by

    async def _pull(self, name: str, wanted_by: str) -> ImageInfo:
        pull = self._pulls.get(name)
        if pull is None or self._is_stale(pull, wanted_by):
            pull = self._begin(name, pull)
        pull.seen_by.add(wanted_by)
        if pull.task.done():
            return pull.task.result()
        if pull.before is not None and not pull.progress:
            raise pull.before.with_traceback(None)
        progress, elapsed = pull.progress or "asking the registry", time.monotonic() - pull.began
        raise Pulling(f"pulling {name}: {progress}, {elapsed:.0f} s so far")

    def _is_stale(self, pull: _Pull, wanted_by: str) -> bool:
        """Whether a finished pull is no answer any more: a success for somebody new, a failure after a while."""
        if not pull.task.done():
            return False
        if not pull.succeeded:
            return pull.ended is None or time.monotonic() - pull.ended > REMEMBER_FAILURE
        return wanted_by not in pull.seen_by

    def _begin(self, name: str, last: _Pull | None) -> _Pull:
        def progress(text: str) -> None:
            pull.progress = text

        def ended(task: asyncio.Task[ImageInfo]) -> None:
            pull.ended = time.monotonic()
            if not task.cancelled() and task.exception() is not None:
                log.warning("pulling %s failed: %s", name, task.exception())
            for uid in pull.seen_by - {""}:
                self._wake(uid)

        failure = None if last is None else last.failure
        before = failure if isinstance(failure, PullFailed) and not failure.permanent else None
        pull = _Pull(asyncio.create_task(self._podman.images.pull(name, progress)), time.monotonic(), before)
        pull.task.add_done_callback(ended)
        self._pulls[name] = pull
        return pull


def never_started(name: str, image_id: str, labels: Mapping[str, str]) -> dict[str, object]:
    """The body of a container that is only there to be looked into."""
    return {
        "name": name,
        "image": image_id,
        "entrypoint": ["/never-started"],
        # Podman's archive API answers 500 for a container whose user it cannot find; a number it need not look up.
        "user": "0:0",
        "labels": dict(labels),
        "netns": {"nsmode": "none"},
        "image_volume_mode": "ignore",
    }


def local_name(reference: Reference) -> str:
    """A reference as Podman is asked for it: fully qualified, and with a digest the tag has no say."""
    if reference.digest is not None:
        return f"{reference.registry}/{reference.path}@{reference.digest}"
    return str(reference)


def is_meant(image: ImageInfo, reference: Reference) -> bool:
    """Whether the reference's own repository knows the image."""
    return rules.is_meant(reference, image.repo_tags, image.repo_digests)


def digest_of(image: ImageInfo, reference: Reference) -> str | None:
    """The manifest's digest by which the reference's repository knows the image."""
    if reference.digest is not None:
        return reference.digest
    prefix = f"{reference.registry}/{reference.path}@"
    return next((d.removeprefix(prefix) for d in image.repo_digests if d.startswith(prefix)), None)


def _config(image: ImageInfo) -> ImageConfig:
    path = next((e.removeprefix("PATH=") for e in image.env if e.startswith("PATH=")), DEFAULT_PATH)
    return ImageConfig(user=image.user, entrypoint=image.entrypoint, command=image.cmd, path=path)
