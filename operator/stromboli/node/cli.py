"""The Claude CLI on this node: its image, mounted once through a holder container, and its binary's requirements.

Podman's own image mounts race with the removal of other containers. So one container of the CLI image is created and
mounted, but never started, and every run bind-mounts its path. After a reboot, it is mounted again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from stromboli import naming
from stromboli.errors import CLIUnavailable, ImageMissing, NotFound, PodmanError, PullFailed, Pulling
from stromboli.inspection import startfiles
from stromboli.inspection.needs import needs_of
from stromboli.models.agentpolicy import PullPolicy
from stromboli.node.images import NOBODY, Images, never_started
from stromboli.node.pulls import digest_of
from stromboli.plan import ownership
from stromboli.plan.compatibility import CLINeeds
from stromboli.plan.policy import CLI
from stromboli.plan.pull_secrets import Tenant
from stromboli.podman.containers import ContainerSummary
from stromboli.podman.images import ImageInfo
from stromboli.podman.transport import Podman

log = logging.getLogger(__name__)

PROGRESS_EVERY = 2.0  # seconds between checks of a pull
UNUSED = 3600.0  # seconds without use after which a CLI image's mount is forgotten


@dataclass(frozen=True, slots=True)
class MountedCLI:
    """The CLI, ready to be bind-mounted: `mount` is the holder's path on the node, `program` the path in containers."""

    reference: str
    digest: str | None
    image_id: str
    mount: str
    program: str
    needs: CLINeeds


@dataclass(frozen=True, slots=True)
class _Mount:
    """Where a CLI image is mounted on the node. `visible`: whether the operator can see its program there."""

    path: str
    needs: CLINeeds
    visible: bool


class CLIMounts:
    """The holders of this node, one for each CLI image."""

    def __init__(self, podman: Podman, images: Images, installation: str) -> None:
        self._podman = podman
        self._images = images
        self._installation = installation
        # By image id and the CLI's path in it. References are not part of the key: several can mean the same image.
        self._ready: dict[tuple[str, str], _Mount] = {}
        self._used: dict[tuple[str, str], float] = {}  # when each was last asked for
        self._doubted: set[tuple[str, str]] = set()
        self._lock = asyncio.Lock()

    async def ready(self, cli: CLI, wanted_by: str, tenant: Tenant = NOBODY) -> MountedCLI | None:
        """Ensure that the CLI of a policy is mounted for a tenant; None if images bring their own.

        Raises CLIUnavailable, PodmanError, PodmanUnavailable.
        """
        if cli.reference is None:
            return None
        image = await self._image(cli, wanted_by, tenant)
        held = await self._held(image.id, cli.path)
        return MountedCLI(
            reference=str(cli.reference),
            digest=digest_of(image, cli.reference),
            image_id=image.id,
            mount=held.path,
            program=f"{naming.CLI_MOUNT}/{cli.path}",
            needs=held.needs,
        )

    def doubt(self) -> None:
        """Check each mount before its next use, since a container did not find the CLI or Podman was unavailable.

        Mounts that are intact stay as they are: a container's report must not affect other containers.
        """
        self._doubted.update(self._ready)

    async def drop_unused(self) -> None:
        """Remove holders of CLI images that are no longer used, unless a running container may have one mounted.

        A stopped session container has none mounted: its next start mounts what is current then.
        """
        async with self._lock:
            self._forget_unused()
            in_use = {image for image, _ in self._ready}
            ours = self._installation
            found = await self._podman.containers.list({naming.INSTALLATION: ours})
            agents = (c for c in found if ownership.is_agent(c.name, c.labels, ours))
            if not in_use or any(agent.status != "exited" for agent in agents):
                return
            for container in found:
                is_holder = ownership.is_holder(container.name, container.image_id, container.labels, ours)
                if is_holder and container.image_id not in in_use:
                    await self._drop(container)

    async def _drop(self, holder: ContainerSummary) -> None:
        try:
            await self._podman.containers.remove(holder.id)
        except PodmanError as error:
            log.warning("the holder %s of an unused CLI image could not be removed: %s", holder.name, error)

    def _forget_unused(self) -> None:
        """Forget mounts that no run has asked for in UNUSED seconds, except the most recently used one."""
        now, last = time.monotonic(), max(self._used.values(), default=0.0)
        for key, used in list(self._used.items()):
            if used != last and now - used > UNUSED:
                self._used.pop(key)
                self._ready.pop(key, None)
                self._doubted.discard(key)

    async def _image(self, cli: CLI, wanted_by: str, tenant: Tenant) -> ImageInfo:
        assert cli.reference is not None
        try:
            return await self._images.resolve(cli.reference, cli.pull, wanted_by, tenant)
        except Pulling as pulling:
            raise CLIUnavailable(f"the Claude CLI's image: {pulling}", PROGRESS_EVERY) from pulling
        except (ImageMissing, PullFailed) as e:
            hint = "an administrator can pull it on the node, or set another in cli.image of an AgentPolicy"
            if cli.pull is PullPolicy.Never:
                hint = f"pulling is off; {hint}"
            raise CLIUnavailable(f"the Claude CLI's image {cli.reference} is not on the node: {e}; {hint}") from e

    async def _held(self, image_id: str, path: str) -> _Mount:
        """Where the image is mounted and what its binary needs: looked up once, and checked again after `doubt`."""
        key = (image_id, path)
        self._used[key] = time.monotonic()
        if key in self._ready and key not in self._doubted:
            return self._ready[key]
        async with self._lock:
            known = self._ready.get(key)
            if known is None or (key in self._doubted and not await self._is_there(known, path)):
                holder = await self._holder(image_id)
                mount = await self._podman.containers.mount(holder)
                visible = await asyncio.to_thread(_is_visible, mount, path)
                known = self._ready[key] = _Mount(mount, await self._needs(holder, mount, path), visible)
            self._doubted.discard(key)
        return known

    async def _is_there(self, mount: _Mount, path: str) -> bool:
        """Whether Podman still has it mounted, and the program is still visible if it once was."""
        if mount.path not in (await self._podman.containers.mounted()).values():
            return False
        return not mount.visible or await asyncio.to_thread(_is_visible, mount.path, path)

    async def _holder(self, image_id: str) -> str:
        """Ensure the holder; returns its id. Raises PodmanError if another container has its name."""
        name = naming.holder(self._installation, image_id)
        if (found := await self._found_holder(name, image_id)) is not None:
            return found
        labels = {naming.INSTALLATION: self._installation, naming.ROLE: naming.ROLE_HOLDER}
        try:
            return await self._podman.containers.create(never_started(name, image_id, labels))
        except PodmanError:
            if (found := await self._found_holder(name, image_id)) is not None:  # another operator created it first
                return found
            raise

    async def _found_holder(self, name: str, image_id: str) -> str | None:
        found = await self._podman.containers.inspect(name)
        if found is None:
            return None
        if found.image_id == image_id and ownership.is_holder(name, image_id, found.labels, self._installation):
            return found.id
        raise PodmanError(f"a container named {name} exists but does not hold the Claude CLI's image; remove it")

    async def _needs(self, holder: str, mount: str, path: str) -> CLINeeds:
        """What the binary requires. Raises CLIUnavailable if the image has no such file."""
        if await asyncio.to_thread(_is_visible, mount, path):
            return await asyncio.to_thread(_read, _program(mount, path))
        return await self._needs_by_archive(holder, path)

    async def _needs_by_archive(self, holder: str, path: str) -> CLINeeds:
        """For rootless Podman, whose mounts the operator cannot see, and for a path that goes through symlinks."""
        if unreadable := await startfiles.problem_in(self._podman, holder):
            raise CLIUnavailable(f"the Claude CLI's image: {unreadable}; use another")
        with tempfile.TemporaryFile() as file:
            try:
                await self._podman.archive.download_file(holder, f"/{path}", file)
            except NotFound as e:
                raise CLIUnavailable(
                    f"the Claude CLI's image does not contain {path}; an administrator can set cli.path in a policy"
                ) from e
            return await asyncio.to_thread(needs_of, file)


def _program(mount: str, path: str) -> Path:
    return Path(os.path.realpath(f"{mount}/{path}"))


def _is_visible(mount: str, path: str) -> bool:
    program = _program(mount, path)
    return program.is_relative_to(mount) and program.is_file()


def _read(program: Path) -> CLINeeds:
    with program.open("rb") as file:
        return needs_of(file)
