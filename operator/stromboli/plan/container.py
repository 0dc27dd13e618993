"""A request and what the node has → the body of Podman's "create container" call. Pure.

The body is libpod's SpecGenerator (Podman REST API, POST /libpod/containers/create). Podman silently ignores unknown
fields, so a contract test inspects a container that was created from this body. It contains no prompt, no `spec.env`
and no secret: since a session's container is kept, these are passed through the attempt's folder.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter

from stromboli import bounds, naming
from stromboli.models.agentpolicy import Network
from stromboli.models.sources import MAX_TAKEN
from stromboli.plan.attempt import MANAGED_FOLDER
from stromboli.plan.limits import Limits
from stromboli.plan.request import DEFAULT_PIDS, Request
from stromboli.plan.volumes import Volume

Body = dict[str, Any]

ENTRYPOINT = [f"{naming.PLAN}/busybox", "sh", f"{naming.PLAN}/supervisor"]
CPU_PERIOD = 100_000  # microseconds, the kernel's default
MIN_QUOTA = 1_000  # microseconds; the kernel refuses less (min_cfs_quota_period), the kubelet rounds up likewise
STOP_SIGNAL = 15  # TERM, which the supervisor passes on; the image's own signal is meant for the image's own program
# Podman itself ends the container this many seconds after the longest timeout, in case an agent kills the supervisor's
# timers while the operator is down. It counts from each start, but is fixed when the container is created.
BACKSTOP_MARGIN = 120
# The version of our mounts in a container. A container of another version cannot be given an attempt.
LAYOUT = 2
# Containers of earlier versions that sessions still have: since 2, there is a place for `spec.secretFiles`.
_EARLIER = (1,)


@dataclass(frozen=True, slots=True)
class Identity:
    """The image's user as numbers. A name would be resolved at each start, from the container's own files, which an
    agent may have changed.

    `groups` are the supplementary ones. `namespace` is the size of rootless Podman's user namespace in uids and gids;
    None if Podman runs as root, or this user is root.
    """

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    namespace: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where the session's files are on the node: the links in its folder, its volume and its network.

    `secret` is the file with the secrets, or a link to it; `gateway` is the folder of a gateway's socket, or a link to
    it.
    """

    attempt: str
    secret: str
    cli: str | None
    gateway: str | None
    volume: str
    network: str | None


def body(
    request: Request,
    *,
    name: str,
    image_id: str,
    identity: Identity,
    place: Place,
    volumes: tuple[Volume, ...],
    labels: Mapping[str, str],
    longest: float,
) -> Body:
    """The body. `volumes` are the request's, with resolved host paths; no run in the container takes more than
    `longest` seconds.
    """
    return {
        "name": name,
        "image": image_id,
        "labels": dict(labels),
        "entrypoint": ENTRYPOINT,
        "command": [],
        "user": f"{identity.uid}:{identity.gid}",
        # Podman 4.3 follows links of the image, or of an agent, when it creates a working directory, even out of the
        # container. So the supervisor creates and enters it, from inside.
        "work_dir": "/",
        "groups": [str(group) for group in identity.groups],
        "stop_signal": STOP_SIGNAL,
        "mounts": _mounts(place, volumes),
        "volumes": [{"Name": place.volume, "Dest": naming.SESSION, "Options": ["rw"]}],
        "timeout": int(longest) + BACKSTOP_MARGIN,
        **_isolation(identity),
        **_network(place),
        **_limits(request),
    }


@dataclass(frozen=True, slots=True)
class Shape:
    """Those properties of a container that policies restrict. A container that is kept has them as a label."""

    network: str
    cli: bool
    volumes: tuple[str, ...]
    memory: int | None = None
    cpus: int | None = None
    pids: int | None = None
    layout: int | None = None

    @property
    def mount_points(self) -> tuple[str, ...]:
        """The paths in the container where something is mounted, according to its configuration."""
        return (naming.RUNTIME, naming.CLI_MOUNT, naming.MANAGED, *(mount.split(":")[1] for mount in self.volumes))

    def to_label(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_label(text: str) -> Shape:
        """The shape in a label. Raises ValueError if there is none in it."""
        found = _SHAPE.validate_python(bounds.json_document(text, bounds.DOCUMENT))
        if not all(":" in mount for mount in found.volumes):
            raise ValueError("a volume has no target")
        return found


_SHAPE = TypeAdapter(Shape)


def shape(request: Request, network: Network, cli: bool, volumes: tuple[Volume, ...]) -> Shape:
    """The shape of a container that is created now. `volumes` have resolved host paths."""
    mounts = sorted(f"{v.host}:{v.container}:{'ro' if v.read_only else 'rw'}" for v in volumes)
    return Shape(network.value, cli, tuple(mounts), request.memory, request.cpus, request.pids, LAYOUT)


def misfit(found: Shape, wanted: Shape, limits: Limits, *, files: bool) -> str:
    """What today's policies do not allow about a container that was created under earlier ones, as a predicate that
    continues "the container …"; empty if they allow it. `files` is whether the run has secret files.
    """
    if found.layout in _EARLIER:
        if files:
            return "was created by an earlier version of the operator, without a place for spec.secretFiles"
    elif found.layout != wanted.layout:
        return "was created by another version of the operator, which mounted other files into it"
    if wanted.network == Network.none and found.network != wanted.network:
        return "is on a network, which a policy no longer allows"
    if wanted.cli and not found.cli:
        return "was created without the CLI's mount, which the policies now require"
    if found.volumes != wanted.volumes:
        return f"has the volumes {', '.join(found.volumes)}, which are now {', '.join(wanted.volumes)}"
    return next(_over(found, limits), "")


def labels_lost(container: str) -> str:
    """The message about a container whose shape cannot be read."""
    return f"the container {container} has lost its labels; remove it"


def _over(found: Shape, limits: Limits) -> Iterator[str]:
    """The limits of a container that exceed a ceiling, or are missing although there is one."""
    for name, has, ceiling in (
        ("memory", found.memory, limits.memory),
        ("cpus", found.cpus, limits.cpus),
        ("pids", found.pids, limits.pids),
    ):
        if ceiling is None or (has is not None and has <= ceiling.value):
            continue
        created = f"with more {name} than" if has is not None else f"without a limit on {name}, which exceeds"
        yield f"was created {created} the ceiling of {ceiling.text} that {ceiling.owner} sets in limits.{name}"


def unenforced(request: Request, controllers: Collection[str]) -> str | None:
    """A message about the limits of a run that a node with these cgroup controllers cannot enforce; None if it can."""
    wanted = (
        ("memory", "memory", request.memory is not None),
        ("cpus", "cpu", request.cpus is not None),
        ("cpuShares", "cpu", request.cpu_shares is not None),
        ("pids", "pids", request.pids != DEFAULT_PIDS),
    )
    lost = [name for name, controller, asked in wanted if asked and controller not in controllers]
    if not lost:
        return None
    return (
        f"the node's Podman cannot enforce resources {', '.join(lost)}: it has no cgroup controller for them (a "
        "rootless Podman has none on cgroup v1, and on cgroup v2 those delegated to its user); the run goes on "
        "without, and an administrator can delegate the controllers or use a rootful Podman"
    )


def _mounts(place: Place, volumes: tuple[Volume, ...]) -> list[Body]:
    mounts = [
        _bind(f"{place.attempt}/plan", naming.PLAN, read_only=True),
        _bind(f"{place.attempt}/plan/{MANAGED_FOLDER}", naming.MANAGED, read_only=True),
        _bind(f"{place.attempt}/out", naming.OUT, read_only=False),
        # Read-only, since all sessions share the node's tmpfs. The CLI writes to the container's own (/dev/shm).
        _bind(place.secret, naming.HANDED, read_only=True),
        *_for_secret_files(),
    ]
    if place.cli is not None:
        mounts.append(_bind(place.cli, naming.CLI_MOUNT, read_only=True))
    if place.gateway is not None:
        mounts.append(_bind(place.gateway, naming.LLM_GATEWAY, read_only=True))
    return mounts + [_bind(v.host, v.container, read_only=v.read_only) for v in volumes]


def _for_secret_files() -> Iterator[Body]:
    """What the supervisor writes there is gone with the container's processes, whatever happens to the operator.

    Everybody in the container may write there, as in /tmp: Podman gives a tmpfs to root, and the agent's user need not
    be root. runc gives it the mode of a folder that is already there, from an earlier start or the image (seen: 1.1.5).
    So the folder above is a tmpfs as well, in which it is new each time.
    """
    options = ["rw", "nosuid", "nodev", "noexec", "notmpcopyup"]
    for destination, mode, size in ((naming.RUNTIME, 755, MAX_TAKEN), (naming.SECRET_FILES, 1777, 2 * MAX_TAKEN)):
        own = [*options, f"mode={mode}", f"size={size}"]
        yield {"type": "tmpfs", "source": "tmpfs", "destination": destination, "options": own}


def _bind(source: str, destination: str, *, read_only: bool) -> Body:
    options = ["ro" if read_only else "rw", "rbind", "nosuid", "nodev"]
    return {"type": "bind", "source": source, "destination": destination, "options": options}


def _isolation(identity: Identity) -> Body:
    """Podman's default capabilities and seccomp profile, own namespaces, no log that could grow, and no restarts."""
    out: Body = {
        "no_new_privileges": True,
        "image_volume_mode": "ignore",
        "healthconfig": {"Test": ["NONE"]},
        "log_configuration": {"driver": "none"},
        "httpproxy": False,
        "systemd": "false",
        "restart_policy": "no",
    }
    if identity.namespace is not None:
        uids, gids = identity.namespace
        out["userns"] = {"nsmode": "private"}
        out["idmappings"] = {"UIDMap": _own(identity.uid, uids), "GIDMap": _own(identity.gid, gids)}
    return out


def _own(own: int, count: int) -> list[Body]:
    """Ids in the container → ids in rootless Podman's namespace. `own` is mapped to 0, the user that runs Podman.

    The same as `--userns keep-id:uid=…,gid=…`, with which Podman 4.3 fails if either is 0.
    """
    rows = ((0, 1, min(own, count - 1)), (own, 0, 1), (own + 1, own + 1, count - 1 - own))
    return [{"container_id": inside, "host_id": outside, "size": n} for inside, outside, n in rows if n > 0]


def _network(place: Place) -> Body:
    if place.network is None:
        return {"netns": {"nsmode": Network.none}}
    return {"netns": {"nsmode": Network.bridge}, "Networks": {place.network: {}}}


def _limits(request: Request) -> Body:
    limits: Body = {"pids": {"limit": request.pids}}
    if request.memory is not None:
        # `swap` is memory and swap together: if it equals the memory, there is no swap
        limits["memory"] = {"limit": request.memory, "swap": request.memory}
    cpu: Body = {}
    if request.cpus is not None:
        cpu = {"quota": max(request.cpus * CPU_PERIOD // 1000, MIN_QUOTA), "period": CPU_PERIOD}
    if request.cpu_shares is not None:
        cpu["shares"] = request.cpu_shares
    if cpu:
        limits["cpu"] = cpu
    return {"resource_limits": limits}
