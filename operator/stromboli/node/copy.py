"""What a fork begins with: a copy of a stopped container's files as an image, and a copy of a volume.

Whoever calls keeps the originals still meanwhile, and notes what is whole; every step here may be done again after
it was cut short, and ends the same.

A commit writes the holes of sparse files out, and Podman has no other way; `size` says beforehand how much that may be.
A volume's copy keeps them.

A volume is copied by a container of ours that mounts both and runs nothing but our busybox. So the bytes stay
within Podman, whose folder of volumes an operator in a Pod cannot see, and within its user namespace, so that
every owner is kept where Podman is rootless. The archive API cannot do it: what it sends of a volume belongs to root,
all of it (seen on 4.3.1).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping

from stromboli import naming
from stromboli.attempt import busybox
from stromboli.attempt.site import Site
from stromboli.errors import NoSpace, NotFound, PodmanError
from stromboli.node import volume_script
from stromboli.plan import ownership
from stromboli.podman.failures import redact
from stromboli.podman.images import ImageInfo
from stromboli.podman.transport import Podman

log = logging.getLogger(__name__)

# Overlay takes 127 layers (with more, Podman 4.3.1's start fails: "max depth exceeded"). A start takes as long with
# 120 as with 2, and a commit 0.1 s longer with 64; a flat copy, on the other hand, takes the disk of the whole image
# again. So flattening comes late, and half of the limit is left to whatever else adds layers.
MAX_LAYERS = 64

_PROGRAM = f"{naming.RUNTIME}/busybox"
_FROM = f"{naming.RUNTIME}/from"
_TO = f"{naming.RUNTIME}/to"
_CREDENTIALS = naming.CONFIG_DIR.removeprefix(naming.SESSION) + "/.credentials.json"
_WORDS = 400  # bytes of what went wrong
_FULL = "No space left on device"  # strerror(ENOSPC), as busybox says it


class Copier:
    """Copies what sessions of this node have in Podman."""

    def __init__(self, podman: Podman, site: Site) -> None:
        self._podman = podman
        self._site = site

    async def size(self, container: str) -> int:
        """Bytes that `filesystem` would write at most, holes included. Raises NotFound, PodmanError, PodmanUnavailable.

        A flat copy is of all that is in the image as well, after one of what was written in the container.
        """
        base, written = await asyncio.gather(self._image_of(container), self._podman.containers.size(container))
        flat = await self._podman.copies.layers(base.id) >= MAX_LAYERS
        return 2 * written + base.size if flat else written

    async def filesystem(self, container: str, image: str, labels: Mapping[str, str]) -> str:
        """A stopped container's files as the image `image`, which bears `labels`; the image's id.

        Entrypoint, command and user are those of the container's own image, not what we start it with. A copy that
        would have more than MAX_LAYERS layers has one. Raises NotFound, NoSpace, PodmanError, PodmanUnavailable.
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
        """Have in the volume `target`, made with `labels` if missing, what is in `source`, and nothing else.

        The CLI's credentials are left out. Of `helper_image` nothing is executed. The copying container has the name
        of the fork's own (its UID is in `labels`), which is not there yet, and its labels: whoever looks for what a
        fork has left finds it. Raises NotFound, NoSpace, PodmanError, PodmanUnavailable.
        """
        if await self._podman.volumes.inspect(source) is None:  # a container's creation would make an empty one
            raise NotFound(f"the volume {source} is gone, so it cannot be copied", 404)
        await self._podman.volumes.create(target, labels)
        name = naming.container(labels[naming.OWNER])
        await self._remove_helper(name, labels)
        created = await self._podman.containers.create(self._helper(name, source, target, helper_image, labels))
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

    async def drop(self, image: str) -> None:
        """Remove such an image; one that is away is no error, one that a container uses is (PodmanError)."""
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
        """By force: a build that was cut short may have left a container of its own, which no other call ends."""
        stacked = f"{image}{naming.STACKED}"
        if await self._is_ours(stacked):
            await self._podman.copies.remove(stacked, force=True)

    async def _is_ours(self, image: str) -> bool:
        """Whether there is such an image, and we made it."""
        found = await self._podman.copies.inspect(image)
        if found is None:
            return False
        if ownership.copies_of([image], found.labels, self._site.installation):
            return True
        log.warning("the image %s is not ours and stays", image)
        return False

    async def _remove_helper(self, name: str, labels: Mapping[str, str]) -> None:
        """Remove the helper of a copy that was cut short, also where it still runs."""
        found = await self._podman.containers.inspect(name)
        if found is not None and self._site.owns_container(labels[naming.OWNER], found.name, found.labels):
            await self._podman.containers.remove(found.id)

    def _helper(self, name: str, source: str, target: str, image: str, labels: Mapping[str, str]) -> dict[str, object]:
        program = str(busybox.path(self._site.home))
        return {
            "name": name,
            "labels": dict(labels),
            "image": image,
            "entrypoint": [_PROGRAM, "sh", "-c", volume_script.COPY, "copy"],
            "command": [_PROGRAM, _FROM, _TO, _CREDENTIALS, volume_script.SPARSE, str(_WORDS)],
            "user": "0:0",  # in Podman's user namespace, where it is rootless
            "work_dir": "/",
            "terminal": True,  # what it writes then comes as it is, not in frames
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
    """The kernel's words at the end of what busybox wrote: before them are names of files, which an agent chose."""
    return redact(said.strip().rpartition(": ")[2])


def _changes(base: ImageInfo, labels: Mapping[str, str]) -> list[str]:
    """A commit's instructions. A user that the image does not state stays the container's, by number: there is no
    instruction for none.
    """
    instructions = [f"ENTRYPOINT {json.dumps(base.entrypoint)}", f"CMD {json.dumps(base.cmd)}"]
    if base.user:
        instructions.append(f"USER {base.user}")
    return instructions + [f"LABEL {name}={value}" for name, value in labels.items()]
