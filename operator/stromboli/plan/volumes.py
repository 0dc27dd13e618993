"""A run's volumes: parsing, forbidden targets, and what policies allow. Pure.

Links on the host are not resolved here, as that needs the host: the policy is checked again with the resolved path,
see observe/hostpaths.py.
"""

from __future__ import annotations

import itertools
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from stromboli import naming
from stromboli.errors import Refused
from stromboli.plan.policy import VolumeList
from stromboli.plan.refusal import invalid
from stromboli.reasons import Reason

NAME_MAX, PATH_MAX = 255, 4096  # limits.h
# The kernel's own trees, and the targets of our own mounts.
_TREES = ("/proc", "/sys", "/dev", naming.RUNTIME, naming.CLI_MOUNT, naming.MANAGED)


@dataclass(frozen=True, slots=True)
class Volume:
    """One bind mount; both paths absolute and normalized."""

    host: str
    container: str
    read_only: bool


def parse(texts: Iterable[str]) -> tuple[Volume, ...]:
    """Parse `spec.volumes`. Raises Refused(InvalidSpec) naming the entry."""
    volumes = tuple(_one(text, f"spec.volumes[{n}]") for n, text in enumerate(texts))
    seen: set[str] = set()
    for n, volume in enumerate(volumes):
        if volume.container in seen:
            raise invalid(f"spec.volumes[{n}]", f"{volume.container} is mounted twice; keep one of the two")
        seen.add(volume.container)
    return volumes


def judge(volume: Volume, lists: Iterable[VolumeList]) -> None:
    """Check that every policy allows it. Raises Refused(PolicyViolation) with what is allowed."""
    if why := forbidden(volume.host, lists, read_only=volume.read_only):
        mode = "ro" if volume.read_only else "rw"
        raise Refused(Reason.PolicyViolation, f"the volume {volume.host} ({mode}) {why}")


def forbidden(path: str, lists: Iterable[VolumeList], *, read_only: bool) -> str | None:
    """Why a normalized path of the node may not be mounted, as a predicate; None if every policy allows it.

    What may be mounted read-only may be read by the operator for the run.
    """
    asked = False
    for rules in lists:
        asked = True
        if not any(within(path, normal(folder)) and (read_only or not only) for folder, only in rules.folders):
            allowed = ", ".join(f"{p} ({'ro' if ro else 'rw'})" for p, ro in rules.folders) or "no host path at all"
            return f"is not allowed by {rules.owner}, which allows {allowed}"
    if not asked:
        return (
            "is not allowed: no policy allows any host path; an administrator can add it to volumes.allowed of an "
            "AgentPolicy"
        )
    return None


def _one(text: str, field: str) -> Volume:
    parts = text.split(":")
    if len(parts) not in (2, 3) or (len(parts) == 3 and parts[2] not in ("ro", "rw")):
        raise invalid(field, f"{text!r} is not host:container[:ro|rw], such as /srv/code:/workspace:ro")
    host, target = parts[0], parts[1]
    for path in (host, target):
        if not path.startswith("/"):
            raise invalid(field, f"{path!r} is not an absolute path; write it from the root on, such as /srv/code")
        if ".." in path.split("/"):
            raise invalid(field, f"{path!r} has a .. in it; write the path that is meant")
        if "\0" in path:
            raise invalid(field, "has a NUL character in it; take it out")
        if why := too_long(path):
            raise invalid(field, why)
    volume = Volume(normal(host), normal(target), parts[2:] == ["ro"])
    _check_target(volume.container, field)
    return volume


def misfit(target: str, why: str, mounted: Sequence[Volume]) -> Refused:
    """The refusal for what the runtime could not mount at `target`, with the kernel's message.

    `mounted` are the volumes in the order of the spec.
    """
    found = [(len(v.container), n, v) for n, v in enumerate(mounted) if within(target, v.container)]
    if not found:
        return Refused(
            Reason.ImageIncompatible,
            f"Stromboli's own mount at {target} does not fit what the image, or an earlier run of the session, has "
            f"there ({why}); use an image without it, or a new session",
        )
    _, n, volume = max(found)
    return invalid(
        f"spec.volumes[{n}]", f"{volume.host} cannot be mounted at {volume.container}: {_advice(target, why, volume)}"
    )


def _advice(target: str, why: str, volume: Volume) -> str:
    match why:
        case "read-only file system" if target == volume.container:
            return (
                "it lies in another volume, which is mounted read-only and has nothing of that name, so that it cannot "
                "be made there; make it on the node, or choose another place"
            )
        case "read-only file system":
            return f"{target} is mounted in it, for which there is no place in a read-only volume; mount it elsewhere"
        case "file name too long":
            return f"{target} is longer than a path can be; choose a shorter place"
        case "too many levels of symbolic links":
            return f"in the image, the way to {target} is a loop of links; choose another place, such as /workspace"
        case _:
            return (
                "a folder can be mounted only where the container has a folder or nothing, and a file only where it "
                f"has a file or nothing ({target}: {why}); choose another place, such as /workspace"
            )


def are_nested(places: Sequence[str]) -> bool:
    """Whether one of these normalized paths is inside another one."""
    ordered = sorted(f"{place.rstrip('/')}/" for place in places)
    return any(inner.startswith(outer) for outer, inner in itertools.pairwise(ordered))


def own_places() -> tuple[str, ...]:
    """The targets of the kernel's and Stromboli's own mounts, before an image's links are resolved."""
    return _TREES


def check_landings(mounted: Sequence[Volume], landings: Mapping[str, str]) -> None:
    """Check each volume by where a container's mounts really land: a runtime follows links in the container.

    `landings` has those of all targets and of `own_places`; `mounted` are in the order of the spec. Raises
    Refused(InvalidSpec).
    """
    for n, volume in enumerate(mounted):
        place = landings[volume.container]
        for tree in _TREES:
            if any(within(place, own) or within(own, place) for own in (tree, landings[tree])):
                raise invalid(
                    f"spec.volumes[{n}]",
                    f"nothing can be mounted at {volume.container}: there the container has a link to {place}, and "
                    f"{tree} belongs to the kernel or to Stromboli; choose another place, such as /workspace",
                )


def reserved(target: str) -> str | None:
    """The tree of the kernel's or Stromboli's own that a mount at `target` would cover or be inside, if any."""
    # In nearly every image /var/run is a link to /run, and mounts follow it.
    place = target.removeprefix("/var") if within(target, "/var/run") else target
    return next((tree for tree in _TREES if within(place, tree) or within(tree, place)), None)


def too_long(path: str) -> str | None:
    """Why the kernel rejects such a path, in a sentence; None if it does not (NAME_MAX, PATH_MAX; in bytes)."""
    longest = max((_size(name) for name in path.split("/")), default=0)
    if longest > NAME_MAX:
        return f"a name in the path has {longest} bytes, and the kernel takes {NAME_MAX}; choose a shorter one"
    if _size(path) >= PATH_MAX:
        return f"the path has {_size(path)} bytes, and the kernel takes {PATH_MAX - 1}; choose a shorter one"
    return None


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def normal(path: str) -> str:
    """The path without duplicate slashes, `.` and a trailing slash."""
    return "/" + posixpath.normpath(path).lstrip("/")


def within(path: str, root: str) -> bool:
    """Whether a normalized path is `root` or below it."""
    return path == root or path.startswith(root.rstrip("/") + "/")


def _check_target(target: str, field: str) -> None:
    if tree := reserved(target):
        raise invalid(
            field,
            f"nothing can be mounted at {target}: {tree} belongs to the kernel or to Stromboli; "
            "choose another place, such as /workspace",
        )
