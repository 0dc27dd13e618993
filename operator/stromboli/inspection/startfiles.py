"""Checks the files in a container's root that Podman itself reads: before a start, and before sending file content.

Podman opens them unchecked while holding the container's lock: a pipe blocks it forever, and with it every client that
lists containers. So they are checked here first, without opening them. From Podman's source (4.3 to 5.8: libpod's
container_internal*.go, pkg/lookup, buildah's chrootuser): passwd and group for the user, and hosts if
`base_hosts_file = "image"` is configured; /etc itself must be a folder. Everything else that Podman touches in a root
(the working directory, mount points, /etc/mtab, /etc/resolv.conf) is only stat'ed, created or covered by a mount.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from stromboli.inspection.container import ContainerOpener
from stromboli.inspection.opener import Found, Looker
from stromboli.inspection.root import MountedRoot
from stromboli.podman.transport import Podman

FILES = ("/etc/passwd", "/etc/group", "/etc/hosts")
LARGEST = 1024 * 1024  # bytes; Podman reads the whole file


async def problem(root: Looker) -> str:
    """What is wrong with them, as the beginning of a sentence; empty if nothing is. Errors of `root` propagate."""
    etc = await root.stat("/etc")
    if etc is not None and not etc.directory:
        return "its /etc is not a folder"
    for path in FILES:
        found = await root.stat(path)
        if found is not None and (why := _wrong(path, found)):
            return f"its {path} {why}"
    return ""


async def problem_in(podman: Podman, container: str, mounts: Collection[str] = ()) -> str:
    """The same for a container that is not running; `mounts` are its mount points.

    Uses the root as mounted on the node, at a hundredth of the cost of the archive API, or that API if the operator
    cannot see the mount. The root stays mounted until the container is removed. Raises PodmanError, PodmanUnavailable.
    """
    root = MountedRoot(Path(await podman.containers.mount(container)))
    return await problem(root if root.visible else ContainerOpener(podman, container, mounts))


def _wrong(path: str, found: Found) -> str:
    if not found.regular:
        return "is not a regular file" if found.path == path else f"leads to {found.path}, which is not a regular file"
    if found.size > LARGEST:
        return f"has {found.size} bytes; at most {LARGEST} are allowed"
    return ""
