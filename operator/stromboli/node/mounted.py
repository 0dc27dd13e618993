"""Whether a container that is initialized has what was checked at the targets of its binds. Blocking.

Podman mounts by path, so whoever may write in an allowed folder can put a link in the place of what was checked. In a
container that is initialized (`init`), the mounts are made and its process does not run yet: now they are compared, by
device and inode, and only then it is started. What is mounted stays mounted, whatever happens to the names.

Mounts inside other mounts are why inodes are not enough: who may write in the outer folder could move a mount aside
there, and put in its place what it should have been. So at each target there also has to be a mount of its own. And a
link in the outer folder leads the inner mount elsewhere in the container, over one of the operator's own, for example:
nothing that was known before the start shows that.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from stromboli import pathwalk
from stromboli.plan.stack.sources import Identity

_MOUNT_ID = re.compile(r"^mnt_id:\s*(\d+)$", re.MULTILINE)
_ESCAPED = re.compile(r"\\([0-7]{3})")


def differing(pid: int, expected: Mapping[str, Identity]) -> str | None:
    """The first target at which the process does not have a mount of what is expected; None if there is none.

    Raises OSError if the process is gone, or cannot be seen: it has not been checked then.
    """
    if not expected:
        return None
    points = _points(pid)
    for target, identity in expected.items():
        mount = _mount(pid, target, identity, points)
        if mount is None:
            return target
        del points[mount]  # one mount is not the one at two targets
    return None


def intruder(pid: int, own: Collection[str], trees: Collection[str]) -> str | None:
    """Where the process has something mounted over what is the operator's; None if it has not.

    `own` are the targets of the operator's mounts, as far as there are such, and `trees` are where nothing else may be
    mounted. Raises OSError as above.
    """
    points = _points(pid)
    for point in points.values():
        if point not in own and any(f"{point}/".startswith(f"{tree}/") for tree in trees):
            return point
    for target in own:
        mounts = [mount for mount, point in points.items() if point == target]
        if len(mounts) > 1 or (mounts and not _is_seen(pid, target, mounts[0])):
            return target
    return None


def _is_seen(pid: int, target: str, mount: int) -> bool:
    """Whether the mount is what the process finds at the target."""
    try:
        with pathwalk.walked(target, root=f"/proc/{pid}/root") as place:
            return _mount_id(place.descriptor) == mount and place.path == target
    except OSError:
        os.stat(f"/proc/{pid}/root")  # or the process is gone
        return False


def _mount(pid: int, target: str, identity: Identity, points: Mapping[int, str]) -> int | None:
    """The id of the mount at a target; None if it is another one."""
    try:
        with pathwalk.walked(target, root=f"/proc/{pid}/root") as place:
            mount = _mount_id(place.descriptor)
            found = (place.info.st_dev, place.info.st_ino)
            return mount if found == identity and points.get(mount) == place.path else None
    except OSError:
        os.stat(f"/proc/{pid}/root")  # or the process is gone
        return None


def _mount_id(descriptor: int) -> int:
    found = _MOUNT_ID.search(Path(f"/proc/self/fdinfo/{descriptor}").read_text())
    assert found is not None, "proc_pid_fdinfo(5): since Linux 3.15"
    return int(found[1])


def _points(pid: int) -> dict[int, str]:
    """The process's mounts: id → mount point as the process sees it (proc_pid_mountinfo(5))."""
    text = os.fsdecode(Path(f"/proc/{pid}/mountinfo").read_bytes())
    fields = (line.split(" ") for line in text.splitlines())
    return {int(field[0]): _ESCAPED.sub(lambda m: chr(int(m[1], 8)), field[4]) for field in fields}
