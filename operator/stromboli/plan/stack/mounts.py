"""What is mounted into a service's container: what the file says, with the paths that it really leads to. Pure.

An image's VOLUMEs become volumes of the stack, unless the file mounts something there. They have names of ours, so that
a container that replaces another one finds its data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stromboli.compose.stack import Anonymous, Bind, ImageMount, Mount, Named, Service, Tmpfs
from stromboli.plan import volumes
from stromboli.plan.stack import names


@dataclass(frozen=True, slots=True)
class Folder:
    """A file or folder of the node, at the path to which the file's own was resolved."""

    source: str
    target: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class Stored:
    """A volume of the stack: `key` as of names.py, with its name in Podman. `copy`: filled from the image's folder."""

    key: str
    name: str
    target: str
    read_only: bool = False
    copy: bool = True


@dataclass(frozen=True, slots=True)
class Memory:
    """A tmpfs, in bytes; None without a size of its own."""

    target: str
    size: int | None
    mode: int | None
    read_only: bool


@dataclass(frozen=True, slots=True)
class Root:
    """The root of another image, by its ID; always read-only."""

    image: str
    target: str


Mounted = Folder | Stored | Memory | Root


@dataclass(frozen=True, slots=True)
class Found:
    """What was looked up for one service: the file's paths → the real ones, references → image IDs, and targets of
    secrets → copies of their files, which have the owner and the mode that are asked for.
    """

    paths: Mapping[str, str]
    images: Mapping[str, str]
    secrets: Mapping[str, str]


def resolve(session_uid: str, service: Service, image_volumes: tuple[str, ...], found: Found) -> tuple[Mounted, ...]:
    """The mounts of a service, outer ones before those inside them: the runtime mounts in this order."""
    stated = [_mounted(session_uid, service.name, mount, found) for mount in service.mounts]
    stated += [Folder(found.secrets[secret.target], secret.target, read_only=True) for secret in service.secrets]
    targets = {one.target for one in stated}
    inherited = dict.fromkeys(volumes.normal(target) for target in image_volumes)
    stated += [_anonymous(session_uid, service.name, target) for target in inherited if target not in targets]
    return tuple(sorted(stated, key=lambda one: (one.target.count("/"), one.target)))


def _mounted(session_uid: str, service: str, mount: Mount, found: Found) -> Mounted:
    match mount:
        case Bind():
            return Folder(found.paths[mount.source], mount.target, mount.read_only)
        case Named():
            name = names.volume(session_uid, mount.volume)
            return Stored(mount.volume, name, mount.target, mount.read_only, not mount.no_copy)
        case Anonymous():
            one = _anonymous(session_uid, service, mount.target)
            return Stored(one.key, one.name, one.target, mount.read_only, not mount.no_copy)
        case Tmpfs():
            return Memory(mount.target, mount.size, mount.mode, mount.read_only)
        case ImageMount():
            return Root(found.images[mount.image], mount.target)


def _anonymous(session_uid: str, service: str, target: str) -> Stored:
    key = names.anonymous(service, target)
    return Stored(key, names.volume(session_uid, key), target)
