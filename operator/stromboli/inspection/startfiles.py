"""The files of a container's root that Podman itself reads: before a start, and before it sends a file of the root.

Podman opens them as they are, while it holds the container's lock: a pipe keeps it waiting for ever, and with it
everybody who lists containers. So what stands there is looked at first, and never opened. From Podman's source (4.3
to 5.8: libpod's container_internal*.go, pkg/lookup, buildah's chrootuser): passwd and group for the user, hosts where
`base_hosts_file = "image"` is configured; /etc itself has to be a folder. All else that it has to do with in a root
(the working directory, mount points, /etc/mtab, /etc/resolv.conf) it stats, makes or covers, and does not open.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from stromboli.inspection.container import ContainerOpener
from stromboli.inspection.opener import Found, Looker
from stromboli.inspection.root import MountedRoot
from stromboli.podman.transport import Podman

FILES = ("/etc/passwd", "/etc/group", "/etc/hosts")
LARGEST = 1024 * 1024  # bytes; Podman reads all of it


async def problem(root: Looker) -> str:
    """What is wrong with them, as the beginning of a sentence; empty where nothing is. Raises what `root` raises."""
    etc = await root.stat("/etc")
    if etc is not None and not etc.directory:
        return "its /etc is not a folder"
    for path in FILES:
        found = await root.stat(path)
        if found is not None and (why := _wrong(path, found)):
            return f"its {path} {why}"
    return ""


async def problem_in(podman: Podman, container: str, mounts: Collection[str] = ()) -> str:
    """The same for a container that is not running; `mounts` are the places at which something is mounted in it.

    Looked up in the mounted root, which costs a hundredth of what the archive API takes; by that where the operator
    does not see it. The root stays mounted until the container is removed. Raises PodmanError, PodmanUnavailable.
    """
    root = MountedRoot(Path(await podman.containers.mount(container)))
    return await problem(root if root.visible else ContainerOpener(podman, container, mounts))


def _wrong(path: str, found: Found) -> str:
    if not found.regular:
        return "is not a regular file" if found.path == path else f"leads to {found.path}, which is not a regular file"
    if found.size > LARGEST:
        return f"has {found.size} bytes, and {LARGEST} are the most"
    return ""
