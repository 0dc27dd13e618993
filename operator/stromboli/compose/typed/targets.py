"""Paths inside a service's container: which ones nothing may be mounted at."""

from __future__ import annotations

from stromboli import naming
from stromboli.compose.forms.path import clean
from stromboli.compose.problem import quoted
from stromboli.compose.typed.values import CONTROLS

# The kernel's own trees, and the operator's. /dev/shm is part of /dev: its size is set by shm_size.
TREES = ("/proc", "/sys", "/dev", naming.RUNTIME, naming.CLI_MOUNT, naming.MANAGED)
_NAME, _PATH = 255, 4095  # bytes, as of limits.h


def absolute(path: str) -> str:
    """The path, clean. Raises ValueError."""
    if not path.startswith("/"):
        raise ValueError(f'"{quoted(path)}" is not an absolute path of the container; write one such as /data')
    if CONTROLS.search(path):
        raise ValueError(f'"{quoted(path)}" has a control character in it')
    found = clean(path)
    size = len(found.encode("utf-8", "surrogatepass"))
    if size > _PATH or any(len(name.encode("utf-8", "surrogatepass")) > _NAME for name in found.split("/")):
        raise ValueError("is longer than a path can be")
    return found


def target(path: str) -> str:
    """The path, clean, if something may be mounted there. Raises ValueError."""
    found = absolute(path)
    if found == "/":
        raise ValueError("nothing can be mounted over the whole container; choose a folder such as /data")
    if (tree := tree_of(found)) is not None:
        shm = "; set shm_size for more shared memory" if found == "/dev/shm" else ""
        raise ValueError(
            f"nothing can be mounted at {quoted(found)}: {tree} belongs to the kernel or to Stromboli{shm}"
        )
    return found


def tree_of(path: str) -> str | None:
    """The tree of the kernel's or the operator's that a clean path is in, if it is in one."""
    # In nearly every image /var/run is a link to /run, and mounts follow it.
    place = path.removeprefix("/var") if f"{path}/".startswith("/var/run/") else path
    return next((tree for tree in TREES if f"{place}/".startswith(f"{tree}/")), None)
