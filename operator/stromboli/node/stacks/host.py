"""What the node is like, as far as stacks depend on it: its address, its hard limits, the folder for holders."""

from __future__ import annotations

import os
import resource
import socket
from functools import cache
from pathlib import Path

from stromboli.attempt import busybox
from stromboli.plan.stack.blueprint import Node

PROGRAM = "busybox"
# Names of Podman's ulimits (containers.conf(5), as setrlimit(2)); the kernel counts in the same units.
_LIMITS = ("as", "core", "cpu", "data", "fsize", "memlock", "nofile", "nproc", "rss", "stack", "msgqueue", "nice")
_PID_MAX = Path("/proc/sys/kernel/pid_max")
_DOCUMENTATION = ("192.0.2.1", 9)  # RFC 5737: nothing is sent there, only a route is looked up


def node(home: Path) -> Node:
    """The node of an operator with that home. Blocking."""
    return Node(address=_address(), ulimits=hard_limits(), holder=str(_holder(home)), program=PROGRAM)


@cache
def hard_limits() -> dict[str, int]:
    """The highest limits that a container can get, by Podman's name; -1 is none."""
    found = {}
    for name in (*_LIMITS, "rtprio", "rttime", "sigpending"):
        number = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if number is not None:
            found[name] = resource.getrlimit(number)[1]
    # Podman lowers its own to that when it starts, and without CAP_SYS_RESOURCE cannot give a container more.
    most = int(_PID_MAX.read_text())
    found["nproc"] = most if found["nproc"] == resource.RLIM_INFINITY else min(found["nproc"], most)
    return found


def _address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(_DOCUMENTATION)
        except OSError:  # no route: then nobody else reaches it either
            return "127.0.0.1"
        return str(asking.getsockname()[0])


def _holder(home: Path) -> Path:
    """The entire root file system of containers that hold namespaces."""
    root = home / "holder"
    root.mkdir(mode=0o700, exist_ok=True)
    if not (root / PROGRAM).exists():
        new = root / f".{PROGRAM}.{os.getpid()}"
        new.unlink(missing_ok=True)
        try:
            os.link(busybox.path(home), new)
        except OSError:
            new.write_bytes(busybox.path(home).read_bytes())
            new.chmod(0o755)
        new.replace(root / PROGRAM)
    return root
