"""A service and what was found for it → the body of Podman's "create container" call. Pure.

Everything that Podman would take from the image is stated, so that the body is the whole definition (changes.py). A
service gets nothing of the run: no credentials, none of its secrets or variables, none of the operator's mounts.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stromboli import naming
from stromboli.compose.stack import Service, Ulimit
from stromboli.grammar import stop_signal
from stromboli.plan.container import CPU_PERIOD, MIN_QUOTA
from stromboli.plan.stack import commands
from stromboli.plan.stack.image import Image
from stromboli.plan.stack.limits import Resources
from stromboli.plan.stack.mounts import Folder, Memory, Mounted, Root, Stored
from stromboli.plan.stack.supervision import Supervision

Body = dict[str, Any]

LOG_SIZE = 4 * 1024 * 1024  # bytes; a full file is begun anew
UNLIMITED = -1
_INFINITY = 2**64 - 1  # RLIM_INFINITY: Podman reads no -1
_BOTH = ("nofile", "nproc")
_SAFE = ("nosuid", "nodev")


@dataclass(frozen=True, slots=True)
class Resolved:
    """A service with everything that was looked up for it. `network` is its part as of networking.py, and `ulimits`
    are the node's own hard limits, above which Podman cannot go; -1 is no limit.
    """

    service: Service
    image: Image
    mounts: tuple[Mounted, ...]
    network: Mapping[str, Any]
    resources: Resources
    supervision: Supervision
    ulimits: Mapping[str, int]


def body(resolved: Resolved, *, name: str, labels: Mapping[str, str]) -> Body:
    """The body of a service's container. `labels` are those that say whose it is."""
    service, image = resolved.service, resolved.image
    command = commands.combined(service, image)
    own = {naming.SERVICE: service.name, naming.SUPERVISION: resolved.supervision.to_label()}
    environment = {**image.env, **service.environment}
    return {
        "name": name,
        "image": image.id,
        "labels": {**service.labels, **labels, **own},
        "entrypoint": list(command.entrypoint),
        "command": list(command.command),
        "env": {key: value for key, value in environment.items() if key not in service.unset},
        "unsetenv": sorted(service.unset),
        "user": service.user or image.user,
        "work_dir": service.working_dir or image.workdir or "/",
        **({"hostname": service.hostname} if service.hostname else {}),
        "init": service.init,
        "stop_signal": stop_signal.number(service.stop_signal or image.stop_signal) or int(signal.SIGTERM),
        "stop_timeout": max(math.ceil(resolved.supervision.grace), 1),  # with 0, Podman kills at once
        **mounts(resolved.mounts),
        **resolved.network,
        **rights(service),
        **limits(resolved.resources),
        "r_limits": ulimits(service.ulimits, resolved.ulimits),
        **_apart(),
    }


def holder(network: Mapping[str, Any], *, name: str, labels: Mapping[str, str], root: str, program: str) -> Body:
    """The body of the container that holds a network namespace. It has nothing but a program that sleeps.

    `root` is a folder of the node that holds the static busybox under the name `program`, as for helpers of a session.
    """
    return {
        "name": name,
        "labels": dict(labels),
        "rootfs": root,
        "entrypoint": [f"/{program}", "sleep", "2147483647"],
        "command": [],
        "user": "0:0",  # whose the folder is
        "read_only_filesystem": True,
        "cap_drop": ["ALL"],
        "stop_signal": int(signal.SIGKILL),  # as PID 1 it would ignore others
        "resource_limits": {"pids": {"limit": 4}, "memory": {"limit": 16 << 20, "swap": 16 << 20}},
        **network,
        **_apart(),
        "log_configuration": {"driver": "none"},
    }


def mounts(mounted: tuple[Mounted, ...]) -> Body:
    """The fields with what is mounted. Volumes and images are fields of their own in Podman."""
    fields: Body = {"mounts": [], "volumes": [], "image_volumes": [], "image_volume_mode": "ignore"}
    for one in mounted:
        match one:
            case Folder():
                options = [_mode(one.read_only), "rbind", "rprivate", *_SAFE]
                fields["mounts"].append(_mount("bind", one.source, one.target, options))
            case Memory():
                fields["mounts"].append(_mount("tmpfs", "tmpfs", one.target, list(_tmpfs(one))))
            case Stored():
                options = [_mode(one.read_only), *([] if one.copy else ["nocopy"])]
                fields["volumes"].append({"Name": one.name, "Dest": one.target, "Options": options})
            case Root():
                fields["image_volumes"].append({"Source": one.image, "Destination": one.target, "ReadWrite": False})
    return fields


def limits(resources: Resources) -> Body:
    """The fields with a container's limits."""
    found: Body = {"pids": {"limit": resources.pids}}
    memory = {"limit": resources.memory, "swap": resources.swap, "reservation": resources.reservation}
    if stated := {key: value for key, value in memory.items() if value is not None}:
        found["memory"] = stated
    if resources.cpus is not None:
        found["cpu"] = {"quota": max(resources.cpus * CPU_PERIOD // 1000, MIN_QUOTA), "period": CPU_PERIOD}
    shm = {} if resources.shm is None else {"shm_size": resources.shm}
    return {"resource_limits": found, **shm}


def ulimits(stated: Mapping[str, Ulimit], most: Mapping[str, int]) -> list[Body]:
    """The entries for these limits, as far as the node's own hard ones go.

    As soon as there is one, Podman sets those of _BOTH as well, to numbers that it may not set: so they are stated.
    """
    wanted = dict(stated)
    for name in _BOTH if stated else ():
        wanted.setdefault(name, Ulimit(UNLIMITED, UNLIMITED))
    return [
        {"type": name, "soft": _least(limit.soft, most.get(name)), "hard": _least(limit.hard, most.get(name))}
        for name, limit in wanted.items()
    ]


def _least(value: int, most: int | None) -> int:
    bounded = [one for one in (value, most) if one not in (None, UNLIMITED)]
    return min((one for one in bounded if one is not None), default=_INFINITY)


def _mount(kind: str, source: str, target: str, options: list[str]) -> Body:
    return {"type": kind, "source": source, "destination": target, "options": options}


def _tmpfs(memory: Memory) -> Iterator[str]:
    yield from (_mode(memory.read_only), *_SAFE)
    if memory.size is not None:
        yield f"size={memory.size}"
    if memory.mode is not None:
        yield f"mode={memory.mode:o}"


def _mode(read_only: bool) -> str:
    return "ro" if read_only else "rw"


def rights(service: Service) -> Body:
    """The fields with what it may do: Podman's default capabilities but for what the file says."""
    fields: Body = {"read_only_filesystem": service.read_only}
    if service.privileged:
        return fields | {"privileged": True}
    if service.cap_add:
        fields["cap_add"] = [f"CAP_{one.name}" if one.name != "ALL" else one.name for one in service.cap_add]
    if service.cap_drop:
        fields["cap_drop"] = [f"CAP_{one.name}" if one.name != "ALL" else one.name for one in service.cap_drop]
    return fields


def _apart() -> Body:
    """What is the same for all containers of a stack. Checks and restarts are the operator's."""
    return {
        "no_new_privileges": True,
        "healthconfig": {"Test": ["NONE"]},
        "log_configuration": {"driver": "k8s-file", "size": LOG_SIZE},
        "httpproxy": False,
        "systemd": "false",
        "restart_policy": "no",
    }
