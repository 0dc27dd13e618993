"""Makes the initial state of a fork: an image of a stopped container's files, and a copy of a volume.

The caller ensures that the originals do not change meanwhile, and records which copies are complete. Every step is
idempotent and can be repeated after an interruption.

A commit writes the holes of sparse files as data, and Podman has no alternative; `size` gives the upper limit
beforehand. A volume's copy keeps holes.

A volume is copied by a helper container that mounts both volumes and runs only our busybox. So the data stays within
Podman, whose volume folder an operator in a Pod cannot see, and within its user namespace, so that file owners are kept
with rootless Podman. The archive API cannot do this: everything it sends of a volume belongs to root (seen on 4.3.1).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping

from stromboli import naming
from stromboli.attempt import busybox, containers
from stromboli.attempt.site import Site
from stromboli.errors import NoSpace, NotFound, PodmanError
from stromboli.naming import ContainerKey
from stromboli.node import volume_script
from stromboli.plan import ownership
from stromboli.podman.failures import redact
from stromboli.podman.images import ImageInfo
from stromboli.podman.transport import Podman

log = logging.getLogger(__name__)

# Overlay supports 127 layers (with more, Podman 4.3.1's start fails: "max depth exceeded"). A start takes as long with
# 120 layers as with 2, and a commit 0.1 s longer with 64, whereas a flat copy takes the disk space of the whole image
# again. So flattening is done late, but half of the limit is left for other layers.
MAX_LAYERS = 64

_PROGRAM = f"{naming.RUNTIME}/busybox"
_FROM = f"{naming.RUNTIME}/from"
_TO = f"{naming.RUNTIME}/to"
_CREDENTIALS = naming.CONFIG_DIR.removeprefix(naming.SESSION) + "/.credentials.json"
_ERROR_TAIL = 400  # bytes of the helper's error output
_FULL = "No space left on device"  # strerror(ENOSPC), as busybox prints it


class Copier:
    """Copies the container files and volumes of this node's sessions."""

    def __init__(self, podman: Podman, site: Site) -> None:
        self._podman = podman
        self._site = site

    async def size(self, container: str) -> int:
        """The most bytes that `filesystem` would write, including holes. Raises NotFound, PodmanError,
        PodmanUnavailable.

        Flattening first commits the container's writable layer, and then writes it again together with the image.
        """
        base, written = await asyncio.gather(self._image_of(container), self._podman.containers.size(container))
        flat = await self._podman.copies.layers(base.id) >= MAX_LAYERS
        return 2 * written + base.size if flat else written

    async def filesystem(self, container: str, image: str, labels: Mapping[str, str]) -> str:
        """Make an image named `image`, with `labels`, of a stopped container's files; returns the image's id.

        Entrypoint, command and user are those of the container's own image, not those that we start it with. If the
        copy would have more than MAX_LAYERS layers, it is flattened into one. Raises NotFound, NoSpace, PodmanError,
        PodmanUnavailable.
        """
        base = await self._image_of(container)
        await self.drop(image)
        changes = _changes(base, labels)
        if await self._podman.copies.layers(base.id) < MAX_LAYERS:
            return await self._podman.copies.commit(container, image, changes)
        stacked = f"{image}{naming.STACKED}"
        try:
            return await self._podman.copies.flatten(
                await self._podman.copies.commit(container, stacked, changes), image
            )
        finally:
            await self._drop_stacked(image)

    async def volume(self, source: str, target: str, helper_image: str, labels: Mapping[str, str]) -> None:
        """Make the volume `target` an exact copy of `source`, except for the CLI's credentials.

        `target` is created with `labels` if it does not exist. Nothing from `helper_image` is executed. The helper is
        one of the containers of the fork (whose UID is in `labels`), so that cleanup finds it. Raises NotFound,
        NoSpace, PodmanError, PodmanUnavailable.
        """
        if await self._podman.volumes.inspect(source) is None:  # creating the helper would create an empty one
            raise NotFound(f"the volume {source} is gone, so it cannot be copied", 404)
        await self._podman.volumes.create(target, labels)
        key = ContainerKey(labels[naming.OWNER], naming.COPIER)
        await self.drop_helper(key.session)
        body = self._helper(key, source, target, helper_image, {**labels, naming.ROLE: key.role})
        created = await self._podman.containers.create(body)
        try:
            async with self._podman.containers.attached(created) as chunks:
                await self._podman.containers.start(created)
                said = b"".join([chunk async for chunk in chunks]).decode(errors="replace")
            code = await self._podman.containers.wait(created)
        finally:
            await self._podman.containers.remove(created)
        if code != 0:
            what = f"the volume {source} could not be copied to {target}: {_why(said) or f'exit code {code}'}"
            raise NoSpace(what) if _FULL in said else PodmanError(what)

    async def drop_helper(self, uid: str) -> None:
        """Remove the helper that an interrupted copy for the fork `uid` has left, even if it is still running."""
        found = await containers.find(self._podman, self._site, ContainerKey(uid, naming.COPIER))
        if found is not None:
            await self._podman.containers.remove(found.id)

    async def drop(self, image: str) -> None:
        """Remove an image made by `filesystem`. Idempotent. Raises PodmanError if a container uses it."""
        await self._drop_stacked(image)
        if await self._is_ours(image):
            await self._podman.copies.remove(image)

    async def _image_of(self, container: str) -> ImageInfo:
        found = await self._podman.containers.inspect(container)
        image = await self._podman.images.inspect(found.image_id) if found else None
        if image is None:
            raise NotFound(f"the container {container}, or its image, is gone, so it cannot be copied", 404)
        return image

    async def _drop_stacked(self, image: str) -> None:
        """With force: an interrupted build may have left a container of its own, which no other call removes."""
        stacked = f"{image}{naming.STACKED}"
        if await self._is_ours(stacked):
            await self._podman.copies.remove(stacked, force=True)

    async def _is_ours(self, image: str) -> bool:
        """Whether the image exists and was made by us."""
        found = await self._podman.copies.inspect(image)
        if found is None:
            return False
        if ownership.copies_of([image], found.labels, self._site.installation):
            return True
        log.warning("the image %s is not ours, so it is not removed", image)
        return False

    def _helper(
        self, key: ContainerKey, source: str, target: str, image: str, labels: Mapping[str, str]
    ) -> dict[str, object]:
        program = str(busybox.path(self._site.home))
        return {
            "name": key.name,
            "labels": dict(labels),
            "image": image,
            "entrypoint": [_PROGRAM, "sh", "-c", volume_script.COPY, "copy"],
            "command": [_PROGRAM, _FROM, _TO, _CREDENTIALS, volume_script.SPARSE, str(_ERROR_TAIL)],
            "user": "0:0",  # in Podman's user namespace, if it is rootless
            "work_dir": "/",
            "terminal": True,  # so that its output is not multiplexed into frames
            "mounts": [{"type": "bind", "source": program, "destination": _PROGRAM, "options": ["ro", "bind"]}],
            "volumes": [
                {"Name": source, "Dest": _FROM, "Options": ["ro"]},
                {"Name": target, "Dest": _TO, "Options": ["rw"]},
            ],
            "image_volume_mode": "ignore",
            "netns": {"nsmode": "none"},
            "no_new_privileges": True,
            "healthconfig": {"Test": ["NONE"]},
            "log_configuration": {"driver": "none"},
            "httpproxy": False,
            "systemd": "false",
            "restart_policy": "no",
        }


def _why(said: str) -> str:
    """The strerror text at the end of busybox's output; before it are file names, which an agent may have chosen."""
    return redact(said.strip().rpartition(": ")[2])


def _changes(base: ImageInfo, labels: Mapping[str, str]) -> list[str]:
    """The Containerfile instructions for a commit. If the image sets no user, the copy keeps the container's numeric
    user: no instruction can unset it.
    """
    instructions = [f"ENTRYPOINT {json.dumps(base.entrypoint)}", f"CMD {json.dumps(base.cmd)}"]
    if base.user:
        instructions.append(f"USER {base.user}")
    return instructions + [f"LABEL {name}={value}" for name, value in labels.items()]
