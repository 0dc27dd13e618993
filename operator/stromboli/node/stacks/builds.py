"""Builds the images of a stack's services, one job per session and service; what may be built is decided in plan/.

A run's first question reads the context into the operator's home, once. Then the images that the build can reach are
resolved like any others, and unless the session has the image already, it is built, by their ids.

A build begins with copies of its images that have no ONBUILD: Podman executes those of an image, does not show them,
and what they do has not been checked. OCI's format, in which a container is committed, cannot carry them.

An image is named after its session and service, so that it is found again; a newer one takes the name, and the former
is removed once no container needs it.
"""

from __future__ import annotations

import asyncio
import io
import logging
import re
import tarfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from stromboli import naming
from stromboli.attempt.site import Site
from stromboli.compose.problem import Mark
from stromboli.compose.stack import Build
from stromboli.errors import BuildFailed, Building, NotFound, PodmanError
from stromboli.grammar.reference import Reference
from stromboli.models.agentpolicy import Network
from stromboli.node.jobs import Jobs, to_its_end
from stromboli.node.service_images import image_of
from stromboli.observe import buildcontext
from stromboli.observe.buildcontext import CONTAINERFILE, IGNOREFILE, OWN, Context
from stromboli.plan import ownership
from stromboli.plan.policy import Effective
from stromboli.plan.stack import builds as rules
from stromboli.plan.stack import names
from stromboli.plan.stack.builds import Base, PlannedBuild
from stromboli.podman.builds import Recipe
from stromboli.podman.images import ImageInfo
from stromboli.podman.transport import Podman

log = logging.getLogger(__name__)

AT_ONCE = 2  # builds; more compete for the same disk
_STEP = re.compile(r"(?:\[(\d+)/(\d+)\] )?STEP (\d+)/(\d+): ")

Resolve = Callable[[Reference, str], Awaitable[ImageInfo]]
"""The image on the node that an admitted reference means, given the key that names it; raises as `Images.resolve`."""


@dataclass(frozen=True, slots=True)
class Order:
    """An image that is wanted: for which session and service, and within which limits.

    `display_name` is namespace/name of the session or run; `memory` (bytes) and `cpus` (thousandths) limit each step.
    """

    session: str
    service: str
    build: Build
    policy: Effective
    display_name: str
    mark: Mark | None = None
    memory: int | None = None
    cpus: int | None = None

    @property
    def name(self) -> str:
        """The image's name."""
        return names.image(self.session, self.service)


@dataclass(frozen=True, slots=True)
class _Reading:
    """Which reading of a context: each run reads it once."""

    session: str
    service: str
    run: str


@dataclass(frozen=True, slots=True)
class _Making:
    session: str
    service: str
    key: str


class StackBuilds:
    """The builds of this node's stacks. When one ends, `wake` is called with the UID of each run that waits for it."""

    def __init__(self, podman: Podman, site: Site, wake: Callable[[str], None]) -> None:
        self._podman = podman
        self._site = site
        self._contexts: Jobs[_Reading, Context] = Jobs(wake)
        self._builds: Jobs[_Making, str] = Jobs(wake)
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._rootless: bool | None = None

    async def built(self, order: Order, resolve: Resolve, run: str) -> str:
        """The id of the image, once it is built; `run` is the UID to wake.

        Raises Building while that goes on, BuildFailed if it has failed for this run; ComposeProblem, NotPermitted and
        Refused for what may not be built; Waiting; NoSpace, PodmanError, PodmanUnavailable; and what `resolve` raises.
        """
        reading, context = _Reading(order.session, order.service, run), self._context(order, run)
        plan = rules.planned(order.build, context.dockerfile, order.policy, order.mark)
        bases = {text: _base(await resolve(image, plan.slots[text])) for text, image in plan.images.items()}
        plan.check(bases)
        key = plan.key(context.digest, {text: base.id for text, base in bases.items()})
        making = _Making(order.session, order.service, key)
        job = self._builds.find(making)
        if job is None or job.is_over:
            if job is not None and run in job.waiting and isinstance(job.failure, BuildFailed):
                raise job.failure.with_traceback(None)
            if (found := await self._existing(order, key)) is not None:
                await asyncio.to_thread(_discard, context.archive)
                return found
            if job is not None and run in job.waiting and job.failure is not None:
                job.waiting.discard(run)  # another try the next time: Podman, or the disk, has failed
                raise job.failure.with_traceback(None)
            if context.archive is not None and not await asyncio.to_thread(context.archive.exists):
                self._contexts.drop(reading)
                context = self._context(order, run)
            job = self._builds.start(making, lambda report: self._make(order, plan, context, bases, key, report))
        job.waiting.add(run)
        elapsed = time.monotonic() - job.began
        raise Building(f"building {order.service}: {job.progress or 'beginning'}, {elapsed:.0f} s so far")

    async def tidy(self, session: str) -> None:
        """Remove what was built for a session before and no container needs any more. Raises PodmanError,
        PodmanUnavailable.
        """
        for image in await self._podman.copies.images(self._site.owner_labels(session)):
            if ownership.former_build_of(image.names, image.labels, self._site.installation) == session:
                try:
                    await self._podman.copies.remove(image.id)
                except PodmanError as error:
                    log.debug("the image %s is not removed yet: %s", image.id, error)

    async def leave(self, run: str) -> None:
        """This run waits for nothing any more: what nobody else waits for is ended, and its contexts are removed."""
        self._builds.leave(run)
        for reading in self._contexts:
            if reading.run == run:
                await self._contexts.break_off(reading)
                await asyncio.to_thread(_discard, self._archive(reading))

    async def close(self) -> None:
        """End all builds."""
        await asyncio.gather(self._contexts.close(), self._builds.close())

    def _context(self, order: Order, run: str) -> Context:
        """The context, once it has been read."""
        reading = _Reading(order.session, order.service, run)
        job = self._contexts.find(reading)
        if job is None:
            job = self._contexts.start(reading, lambda _: self._read(order, reading))
        job.waiting.add(run)
        if not job.is_over:
            raise Building(f"building {order.service}: reading its context")
        if job.failure is not None:
            self._contexts.drop(reading)
        return job.result()

    async def _read(self, order: Order, reading: _Reading) -> Context:
        archive = self._archive(reading)
        await asyncio.to_thread(self._prepare, order.session, archive)
        return await buildcontext.read(order.build, order.policy.volumes, archive, order.mark)

    def _archive(self, reading: _Reading) -> Path:
        folder = self._site.folder(reading.session).path / "builds" / names.service(reading.service)
        return folder / f"{reading.run}.tar"

    def _prepare(self, session: str, archive: Path) -> None:
        """From now on the session may have something of a stack; what an earlier operator has left is removed."""
        self._site.folder(session).note_stack()
        archive.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in archive.parent.iterdir():
            left.unlink(missing_ok=True)

    async def _existing(self, order: Order, key: str) -> str | None:
        """The image that was built of the same, if it is there."""
        found = await self._podman.copies.inspect(order.name)
        if found is None or found.labels.get(naming.BUILD) != key:
            return None
        owner = ownership.builds_of([order.name], found.labels, self._site.installation).get(order.name)
        return found.id if owner == order.session else None

    async def _make(
        self,
        order: Order,
        plan: PlannedBuild,
        context: Context,
        bases: Mapping[str, Base],
        key: str,
        report: Callable[[str], None],
    ) -> str:
        report("waiting for other builds")
        await self._podman.builds.clear(order.name)
        async with self._slots, self._network(order) as network, self._copies(order, bases) as copies:
            report("beginning")
            if self._rootless is None:
                self._rootless = (await self._podman.info()).rootless
            recipe = Recipe(
                CONTAINERFILE,
                {**self._labels(order, order.service), naming.BUILD: key},
                name=order.name,
                args=order.build.args,
                target=plan.target or "",
                network=network,
                memory=order.memory,
                cpus=order.cpus,
                rootless=self._rootless,
            )
            archive = context.archive or self._archive(_Reading(order.session, order.service, key))
            try:
                await asyncio.to_thread(_complete, archive, context.end, plan.dockerfile(copies))
                limit = order.policy.compose.build_timeout
                with await asyncio.to_thread(open, archive, "rb") as file:
                    return await self._podman.builds.build(
                        file, recipe, limit=limit.value, on_line=lambda line: _follow(line, report)
                    )
            except BuildFailed as error:
                raise BuildFailed(f"service {order.service}: {error}", error.output) from error
            finally:
                await asyncio.to_thread(_discard, archive)

    def _labels(self, order: Order, service: str) -> dict[str, str]:
        return {
            **self._site.owner_labels(order.session),
            naming.RUN: order.display_name,
            naming.ROLE: naming.ROLE_BUILT,
            naming.SERVICE: service,
        }

    @asynccontextmanager
    async def _network(self, order: Order) -> AsyncIterator[str | None]:
        """The network of the build alone; None if the policy gives runs none."""
        if order.policy.network is Network.none:
            yield None
            return
        key = names.of_build(order.service, "build")
        name = names.network(order.session, key)
        await self._podman.networks.create(name, {**self._site.owner_labels(order.session), naming.STACK_NETWORK: key})
        try:
            yield name
        finally:
            await to_its_end(self._tried(self._podman.networks.remove(name), f"the network {name}"))

    @asynccontextmanager
    async def _copies(self, order: Order, bases: Mapping[str, Base]) -> AsyncIterator[dict[str, Base]]:
        """Copies of the images, without ONBUILD."""
        copies = dict[str, Base]()
        made = dict[str, tuple[str, str]]()  # by the image's id: the copy's id, and its name
        try:
            for text, base in bases.items():
                if base.id not in made:
                    service = names.of_build(order.service, str(len(made)))
                    name = names.image(order.session, service)
                    made[base.id] = ("", name)
                    made[base.id] = (await self._copied(base.id, name, self._labels(order, service)), name)
                copies[text] = Base(made[base.id][0], base.check)
            yield copies
        finally:
            for _, name in made.values():
                await to_its_end(self._tried(self._podman.copies.remove(name), f"the image {name}"))

    async def _copied(self, image: str, name: str, labels: Mapping[str, str]) -> str:
        found = await self._podman.images.inspect(image)
        if found is None:
            raise NotFound(f"the image {image} has been removed from the node", 404)
        reader = {naming.INSTALLATION: self._site.installation, naming.ROLE: naming.ROLE_READER}
        body: dict[str, object] = {
            "name": f"{naming.reader(image)}-{uuid.uuid4().hex[:8]}",
            "image": image,
            "labels": reader,
            "netns": {"nsmode": "none"},
            "image_volume_mode": "ignore",
        }
        changes = [f"LABEL {key}={value}" for key, value in labels.items()]
        if not (found.entrypoint or found.cmd):  # nothing to start, without which Podman creates no container
            body["entrypoint"] = ["/never-started"]
            changes.append("ENTRYPOINT []")
        container = await self._podman.containers.create(body)
        try:
            return await self._podman.copies.commit(container, name, changes)
        finally:
            await to_its_end(self._tried(self._podman.containers.remove(container), f"the container {container}"))

    async def _tried(self, removal: Awaitable[object], what: str) -> None:
        """What cannot be removed now is found by the clean-up of its session."""
        try:
            await removal
        except PodmanError as error:
            log.warning("%s could not be removed: %s", what, error)


def _base(info: ImageInfo) -> Base:
    return Base(info.id, image_of(info).check, info.on_build)


def _complete(archive: Path, end: int, dockerfile: str) -> None:
    """Add what is built, and what keeps it out of the image, to the files that end there."""
    archive.touch(0o600)
    with open(archive, "r+b") as file:
        file.seek(end)
        with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for name, text in ((CONTAINERFILE, dockerfile), (IGNOREFILE, "".join(f"{own}\n" for own in OWN))):
                content = text.encode("utf-8", "surrogatepass")
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content), 0o600
                tar.addfile(entry, io.BytesIO(content))


def _discard(archive: Path | None) -> None:
    if archive is not None:
        archive.unlink(missing_ok=True)


def _follow(line: str, report: Callable[[str], None]) -> None:
    if match := _STEP.match(line):
        stage, stages, step, steps = match.groups()
        report(f"stage {stage}/{stages}, step {step}/{steps}" if stage else f"step {step}/{steps}")
