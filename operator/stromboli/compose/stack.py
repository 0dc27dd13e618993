"""A stack: what a compose file means, typed. Everything is expanded, merged and checked; nothing is decided yet.

The shapes are those that the rest of the operator works with. Paths on the node are absolute and lexically clean, but
not resolved: what they really lead to is looked up by observe/. Times are in seconds, sizes in bytes, cpus in
thousandths. `at` is the key from which a part comes (`services.db.volumes[0]`), for messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from stromboli.compose.problem import Mark


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or folder of the node. `create`: a missing folder is created."""

    at: str
    source: str
    target: str
    read_only: bool = False
    create: bool = True


@dataclass(frozen=True, slots=True)
class Named:
    """A volume that the file declares. `no_copy`: not filled from the image's folder."""

    at: str
    volume: str
    target: str
    read_only: bool = False
    no_copy: bool = False


@dataclass(frozen=True, slots=True)
class Anonymous:
    """A volume without a name, filled from the image's folder."""

    at: str
    target: str
    read_only: bool = False
    no_copy: bool = False


@dataclass(frozen=True, slots=True)
class Tmpfs:
    """Memory. `size` in bytes, `mode` of the folder. Files in it can be executed."""

    at: str
    target: str
    size: int | None = None
    mode: int | None = None
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class ImageMount:
    """The root of another image, always read-only."""

    at: str
    image: str
    target: str


Mount = Bind | Named | Anonymous | Tmpfs | ImageMount


class Condition(StrEnum):
    """When a dependency is ready, in Compose's words."""

    started = "service_started"
    healthy = "service_healthy"
    completed = "service_completed_successfully"


@dataclass(frozen=True, slots=True)
class Dependency:
    """`restart`: the dependent is restarted when the dependency is replaced."""

    at: str
    service: str
    condition: Condition = Condition.started
    required: bool = True
    restart: bool = False


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """What the file says about a service's check. None: the image's own, and Compose's default after that.

    `test` begins with NONE, CMD or CMD-SHELL.
    """

    test: tuple[str, ...] | None = None
    interval: float | None = None
    timeout: float | None = None
    retries: int | None = None
    start_period: float | None = None
    start_interval: float | None = None


@dataclass(frozen=True, slots=True)
class Build:
    """An image that is built. `context` and `dockerfile` are paths on the node."""

    at: str
    context: str | None
    dockerfile: str | None = None
    dockerfile_inline: str | None = None
    args: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None


@dataclass(frozen=True, slots=True)
class SecretMount:
    """A file of the node at a path in the container. `uid`, `gid` None: root.

    `at` is where its file is named (`secrets.password.file`), `mounted_at` where the service asks for it.
    """

    at: str
    mounted_at: str
    source: str
    target: str
    mode: int = 0o444
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    """That a service is on a network, and its additional names there."""

    at: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Link:
    """Another service, under one more name, for this service alone."""

    at: str
    service: str
    alias: str


@dataclass(frozen=True, slots=True)
class ExtraHost:
    """A line of /etc/hosts. `address` is an IP address, or HOST_GATEWAY."""

    at: str
    name: str
    address: str


HOST_GATEWAY = "host-gateway"  # the node's own address, as seen from the container


@dataclass(frozen=True, slots=True)
class Capability:
    """A capability that is added or dropped, as of grammar/capability.py: `NET_ADMIN`, or `ALL`."""

    at: str
    name: str


@dataclass(frozen=True, slots=True)
class Port:
    """A port of the container; `host` is None if any port of the node will do. `protocol`: tcp, udp or sctp.

    `host_last`: any port from `host` to this one will do.
    """

    at: str
    container: int
    protocol: str = "tcp"
    host: int | None = None
    address: str | None = None
    host_last: int | None = None


@dataclass(frozen=True, slots=True)
class Ulimit:
    """-1 is no limit."""

    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What a service asks for; None if it asks for nothing. `cpus` in thousandths, `memory_swap` as Podman's:
    memory and swap together.
    """

    memory: int | None = None
    memory_reservation: int | None = None
    memory_swap: int | None = None
    cpus: int | None = None
    pids: int | None = None
    shm_size: int | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """One service.

    `environment` is complete: env files, then `environment`. `unset` are the variables that the container does not get
    even if its image sets them. `command`, `entrypoint`: None is the image's own, an empty tuple clears it.
    `networks` has the file's names of its networks; it is empty with a `network_mode`.
    `network_mode`: None, `none`, `bridge`, `host`, or `service:NAME`. With `scale` 0 it is not started.
    """

    name: str
    mark: Mark | None = None
    image: str | None = None
    build: Build | None = None
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    unset: frozenset[str] = frozenset()
    user: str | None = None
    working_dir: str | None = None
    hostname: str | None = None
    container_name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    secrets: tuple[SecretMount, ...] = ()
    depends_on: tuple[Dependency, ...] = ()
    healthcheck: HealthCheck | None = None
    networks: Mapping[str, Attachment] = field(default_factory=dict)
    network_mode: str | None = None
    links: tuple[Link, ...] = ()
    expose: tuple[Port, ...] = ()
    ports: tuple[Port, ...] = ()
    extra_hosts: tuple[ExtraHost, ...] = ()
    profiles: tuple[str, ...] = ()
    init: bool = False
    read_only: bool = False
    privileged: bool = False
    no_new_privileges: bool = True
    cap_add: tuple[Capability, ...] = ()
    cap_drop: tuple[Capability, ...] = ()
    ulimits: Mapping[str, Ulimit] = field(default_factory=dict)
    limits: Limits = Limits()
    stop_signal: str | None = None
    stop_grace_period: float | None = None
    restart: str | None = None
    pull_policy: str | None = None
    platform: str | None = None
    scale: int = 1
    keys: Mapping[str, Mark] = field(default_factory=dict)
    """Where its keys stand: `services.db.privileged` → file and line. Ask `mark_of`."""

    def where(self, at: str) -> str:
        """The place of such a key for a message (`file:line`), empty if it is not known."""
        return str(self.mark_of(at) or "")

    def mark_of(self, at: str) -> Mark | None:
        """The place of a key of this service, or of the nearest one around it."""
        while at and at not in self.keys:
            at = at[: max(at.rfind("."), at.rfind("["), 0)]
        return self.keys.get(at, self.mark)


@dataclass(frozen=True, slots=True)
class Network:
    """One of the stack's networks. `internal`: no way out."""

    name: str
    internal: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Volume:
    """One of the stack's volumes."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stack:
    """The whole stack, services that are switched off by profile included.

    `notices` are sentences about what is accepted without effect, and about variables that are not set.
    """

    services: Mapping[str, Service]
    networks: Mapping[str, Network] = field(default_factory=dict)
    volumes: Mapping[str, Volume] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
