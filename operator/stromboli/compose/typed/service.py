"""The keys of a service. What becomes of them is in `assembly.py`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, model_validator

from stromboli.compose.forms import words
from stromboli.compose.problem import quoted
from stromboli.compose.typed import targets
from stromboli.compose.typed.base import Ignored, Loc, Obeyed, Replaced, Strict, Wrong
from stromboli.compose.typed.build import Build
from stromboli.compose.typed.healthcheck import HealthCheck
from stromboli.compose.typed.labels import Labels
from stromboli.compose.typed.limits import Copies, Cpus, Deploy, Memory, Pids, SharedMemory, Ulimits
from stromboli.compose.typed.mounts import Secret, Tmpfs, Volume, image
from stromboli.compose.typed.networks import (
    Attachments,
    ContainerName,
    Exposed,
    ExtraHost,
    Hostname,
    Links,
    NetworkMode,
    Port,
)
from stromboli.compose.typed.values import (
    Boolean,
    Octets,
    Text,
    Variables,
    Word,
    each,
    form,
    members,
    one_of,
    scalar,
    seconds,
    text,
    word,
)
from stromboli.errors import InvalidInput
from stromboli.grammar import capability

MOST_TIME = 24 * 3600.0
_SIGNAL = re.compile(  # signal(7)
    "[1-9]|[1-5][0-9]|6[0-4]|HUP|INT|QUIT|ILL|TRAP|ABRT|IOT|BUS|FPE|KILL|USR1|SEGV|USR2|PIPE|ALRM|TERM|STKFLT|CHLD|CLD"
    "|CONT|STOP|TSTP|TTIN|TTOU|URG|XCPU|XFSZ|VTALRM|PROF|WINCH|IO|POLL|PWR|SYS|RTM(?:IN|AX)(?:[+-][0-9]{1,2})?"
)
_USER = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,63}[$]?|")  # or nothing
_PLATFORM = re.compile(r"[a-z0-9]+(?:/[a-z0-9_]+(?:/[a-z0-9.]+)?)?")
_RESTART = re.compile(r"no|always|unless-stopped|on-failure(?::[0-9]{1,6})?")
_PULL = re.compile(r"always|never|missing|if_not_present|build|refresh|daily|weekly|every_(?:[0-9]{1,6}[wdhms])+")
_NO_NEW_PRIVILEGES = re.compile(r"no-new-privileges(?:[:=]true)?")
_NAMESPACE = "a service has its own; namespaces of the node or of other containers are out of reach"
_DEVICES = "devices of the node are not available to services"
_CPUS = "use cpus"
_DNS = "names are answered on the session's own networks; use extra_hosts for an address of your own"
_HOOK = "put it into the command, or into the run's lifecycle for the agent's service"
_OOM = "the kernel decides which process it kills, within the memory of the stack"
_AI = "take it out"


def _command(value: object) -> tuple[str, ...]:
    return form(words.parse)(value) if isinstance(value, str) else each(text)(value)


def _image(value: object) -> str:
    """A reference, or nothing, as where a variable is not set."""
    return "" if value == "" else image(value)


def _user(value: object) -> str:
    """`USER[:GROUP]`; an empty part is left out, and without a user it is root, as engines read it."""
    found = text(value)
    user, _, group = found.partition(":")
    if not (_USER.fullmatch(user) and _USER.fullmatch(group)):
        raise ValueError(f'"{quoted(found)}" is not a user; write a name or a number, with :GROUP if need be')
    return f"{user or '0'}:{group}" if group else user or "0"


def _working_dir(value: object) -> str:
    found = targets.absolute(text(value))
    if (tree := targets.tree_of(found)) is not None:
        raise ValueError(f"cannot be in {tree}, which belongs to the kernel or to Stromboli")
    return found


def _stop_signal(value: object) -> str:
    found = str(value) if isinstance(value, int) and not isinstance(value, bool) else text(value)
    name = found.upper().removeprefix("SIG")
    if not _SIGNAL.fullmatch(name):
        raise ValueError(f'"{quoted(found)}" is not a signal; write one such as SIGINT')
    return name if name.isdigit() else f"SIG{name}"


def _grace(value: object) -> float:
    found = seconds(value)
    if found > MOST_TIME:
        raise ValueError("is longer than a day")
    return found


def _capability(value: object) -> str:
    try:
        return capability.parse(text(value))
    except InvalidInput as e:
        raise ValueError(e.message) from e


def _security(value: object) -> str:
    found = text(value)
    if not _NO_NEW_PRIVILEGES.fullmatch(found):
        raise ValueError("is not supported: only no-new-privileges is, which every service has anyway")
    return found


def _matching(pattern: re.Pattern[str], what: str) -> BeforeValidator:
    def read(value: object) -> str:
        found = text(value)
        if not pattern.fullmatch(found):
            raise ValueError(f'"{quoted(found)}" is not {what}')
        return found

    return BeforeValidator(read)


def _options(value: object) -> Mapping[str, str]:
    """Options of a log driver: of any kind, as they have no effect."""
    return {key: "" if one is None else scalar(one) for key, one in members(value).items()}


def _dependencies(value: object) -> dict[str, object]:
    return members(value)


class Dependency(Strict):
    """One of `depends_on`."""

    condition: Annotated[
        Annotated[str, BeforeValidator(one_of("service_started", "service_healthy", "service_completed_successfully"))],
        Obeyed(),
    ]
    required: Annotated[Boolean, Obeyed()] = True
    restart: Annotated[Boolean, Obeyed()] = False


class EnvFile(Strict):
    """One of `env_file`."""

    path: Annotated[Word, Obeyed("A file in a folder that a policy allows.")]
    required: Annotated[Boolean, Obeyed()] = True
    format: Annotated[Annotated[str, BeforeValidator(one_of("raw"))] | None, Obeyed("`raw`: values as they are.")] = (
        None
    )


class Logging(Strict):
    """`logging`."""

    driver: Annotated[Text | None, Ignored("logs are kept by the operator")] = None
    options: Annotated[
        Annotated[Mapping[str, str], BeforeValidator(_options)], Ignored("logs are kept by the operator")
    ] = Field(default_factory=dict)


Image = Annotated[str, BeforeValidator(_image)]
Command = Annotated[tuple[str, ...], BeforeValidator(_command)]
EnvFiles = list[EnvFile]


class Service(Strict):
    """One service."""

    nullable: ClassVar = frozenset({"command", "deploy", "entrypoint"})
    emptiable: ClassVar = frozenset(
        {
            "container_name",
            "hostname",
            "network_mode",
            "platform",
            "pull_policy",
            "restart",
            "stop_signal",
            "user",
            "working_dir",
        }
    )
    refused: ClassVar = {
        "annotations": "they are instructions to the engine; use labels",
        "blkio_config": "take it out",
        "cgroup_parent": "the operator's limits are set in a control group of its own",
        "configs": "use a volume with the file, or a secret",
        "cpu_count": "it is an option of Windows; use cpus",
        "cpu_percent": "it is an option of Windows; use cpus",
        "cpu_period": _CPUS,
        "cpu_quota": _CPUS,
        "cpu_rt_period": "realtime scheduling would take the node's cpus from everybody else",
        "cpu_rt_runtime": "realtime scheduling would take the node's cpus from everybody else",
        "cpu_shares": _CPUS,
        "cpuset": _CPUS,
        "credential_spec": "it is an option of Windows",
        "develop": "the agent's service has the files themselves; take it out",
        "device_cgroup_rules": _DEVICES,
        "devices": _DEVICES,
        "dns": _DNS,
        "dns_opt": _DNS,
        "dns_search": _DNS,
        "domainname": "write the whole name in hostname",
        "external_links": "services of other stacks are out of reach",
        "gpus": _DEVICES,
        "group_add": "give the group with user: USER:GROUP",
        "isolation": "it is an option of Windows",
        "label_file": "write the labels into labels",
        "mac_address": "take it out",
        "mem_swappiness": "take it out",
        "models": _AI,
        "oom_kill_disable": _OOM,
        "oom_score_adj": _OOM,
        "pid": _NAMESPACE,
        "post_start": _HOOK,
        "pre_start": _HOOK,
        "pre_stop": _HOOK,
        "provider": _AI,
        "pull_refresh_after": "whether images are pulled is the policy's decision (images.pullPolicy)",
        "runtime": "services run in the node's own runtime",
        "storage_opt": "take it out",
        "sysctls": "the kernel's parameters stay as they are",
        "use_api_socket": "the engine is out of reach of services",
        "userns_mode": _NAMESPACE,
        "uts": _NAMESPACE,
        "volumes_from": "name the volumes in both services",
    }

    image: Annotated[Image | None, Obeyed("Each image has to be allowed by the policies.")] = None
    build: Annotated[Build | None, Obeyed("With the policy's `allowBuild`; else `image` is used.")] = None
    command: Annotated[
        Command | None, Replaced("Text is split into words; there is no shell. `&&` and the like are refused.")
    ] = None
    entrypoint: Annotated[Command | None, Replaced()] = None
    environment: Annotated[
        Variables, Obeyed("One without a value is answered by `environment.env` and `.env`, never by the operator.")
    ] = Field(default_factory=dict)
    env_file: Annotated[EnvFiles, Obeyed()] = Field(default_factory=list)
    user: Annotated[Annotated[str, BeforeValidator(_user)] | None, Obeyed()] = None
    working_dir: Annotated[Annotated[str | None, BeforeValidator(_working_dir)], Obeyed("An absolute path.")] = None
    volumes: Annotated[list[Volume], Obeyed()] = Field(default_factory=list)
    tmpfs: Annotated[list[Tmpfs], Obeyed("Options: `ro`, `rw`, `size`, `mode`, `noexec`, `nosuid`, `nodev`.")] = Field(
        default_factory=list
    )
    secrets: Annotated[list[Secret], Obeyed()] = Field(default_factory=list)
    depends_on: Annotated[
        Annotated[dict[str, Dependency], BeforeValidator(_dependencies)],
        Obeyed("Services that do not depend on each other are started side by side."),
    ] = Field(default_factory=dict)
    healthcheck: Annotated[HealthCheck | None, Replaced("What it leaves out is the image's own.")] = None
    networks: Annotated[Attachments, Obeyed("The networks are the session's own.")] = Field(default_factory=dict)
    network_mode: Annotated[
        NetworkMode | None,
        Obeyed("`none`, `bridge`, `service:NAME`; `host` only with the policy's `allowHostNetwork`."),
    ] = None
    links: Annotated[Links, Obeyed("The alias is a name of the other service for all services beside it.")] = ()
    expose: Annotated[Exposed, Obeyed("Services reach each other's ports in any case.")] = ()
    ports: Annotated[
        list[Port], Obeyed("Published only with the policy's `allowPorts`; without, an event says that they are not.")
    ] = Field(default_factory=list)
    extra_hosts: Annotated[list[ExtraHost], Obeyed("`host-gateway` only with the policy's `allowHostNetwork`.")] = (
        Field(default_factory=list)
    )
    hostname: Annotated[Hostname | None, Obeyed()] = None
    container_name: Annotated[ContainerName | None, Ignored("it is one more name of the service on its networks")] = (
        None
    )
    labels: Annotated[Labels, Obeyed("Not those of `stromboli.dev`, and none for Podman's auto-update.")] = Field(
        default_factory=dict
    )
    profiles: Annotated[
        Annotated[tuple[str, ...], BeforeValidator(each(word))], Obeyed("Turned on by `environment.profiles`.")
    ] = ()
    init: Annotated[Boolean, Obeyed()] = False
    read_only: Annotated[Boolean, Obeyed("An agent in it needs `tmpfs: /tmp`.")] = False
    privileged: Annotated[Boolean, Obeyed("Only with the policy's `allowPrivileged`.")] = False
    cap_add: Annotated[
        Annotated[tuple[str, ...], BeforeValidator(each(_capability))],
        Obeyed("Beyond Podman's default ones: only those in the policy's `capabilities`."),
    ] = ()
    cap_drop: Annotated[Annotated[tuple[str, ...], BeforeValidator(each(_capability))], Obeyed()] = ()
    security_opt: Annotated[
        Annotated[tuple[str, ...], BeforeValidator(each(_security))],
        Obeyed("`no-new-privileges` only, which every service has."),
    ] = ()
    ulimits: Annotated[Ulimits, Obeyed()] = Field(default_factory=dict)
    shm_size: Annotated[SharedMemory | None, Obeyed("Within the memory that a policy allows.")] = None
    mem_limit: Annotated[Memory | None, Obeyed("Up to the policy's `limits.memory`.")] = None
    mem_reservation: Annotated[Octets | None, Obeyed()] = None
    memswap_limit: Annotated[Memory | None, Obeyed("Memory and swap together.")] = None
    cpus: Annotated[Cpus, Obeyed("Up to the policy's `limits.cpus`.")] = None
    pids_limit: Annotated[Pids | None, Obeyed("Up to the policy's `limits.pids`.")] = None
    deploy: Annotated[Deploy, Obeyed()] = Deploy()
    stop_signal: Annotated[Annotated[str, BeforeValidator(_stop_signal)] | None, Obeyed()] = None
    stop_grace_period: Annotated[Annotated[float, BeforeValidator(_grace)] | None, Obeyed("At most a day.")] = None
    pull_policy: Annotated[
        Annotated[str, _matching(_PULL, "always, never, missing, build, daily, weekly or every_TIME")] | None,
        Ignored("when images are pulled is the policies' decision (images.pullPolicy)"),
    ] = None
    platform: Annotated[
        Annotated[str, _matching(_PLATFORM, "a platform such as linux/amd64")] | None,
        Obeyed("It has to be the node's."),
    ] = None
    restart: Annotated[
        Annotated[str, _matching(_RESTART, "no, always, unless-stopped or on-failure[:TIMES]")] | None,
        Replaced("Services are restarted while the stack is in use."),
    ] = None
    scale: Annotated[Copies | None, Obeyed("0 or 1; with 0 the service is not started.")] = None
    tty: Annotated[Boolean, Ignored("nobody is at a terminal")] = False
    stdin_open: Annotated[Boolean, Ignored("nobody is at a terminal")] = False
    attach: Annotated[Boolean, Ignored("nobody is at a terminal")] = True
    logging: Annotated[Logging | None, Ignored("logs are kept by the operator")] = None
    ipc: Annotated[
        Annotated[str, BeforeValidator(one_of("private"))] | None, Ignored("only `private`, which it is anyway")
    ] = None
    cgroup: Annotated[
        Annotated[str, BeforeValidator(one_of("private"))] | None, Ignored("only `private`, which it is anyway")
    ] = None

    @model_validator(mode="after")
    def _whole(self) -> Service:
        if not self.image and self.build is None:
            if self.image is not None:
                raise Wrong(("image",), "is empty, and there is no build; perhaps a variable in it is not set")
            raise ValueError("has neither image nor build; it needs one of the two")
        if self.network_mode is not None and self.networks:
            raise Wrong(("network_mode",), "cannot be given together with networks; keep one of the two")
        self._limits_agree()
        return self

    def _limits_agree(self) -> None:
        bounds, reserved = self.deploy.resources.limits, self.deploy.resources.reservations
        for key, own, beside, other in (
            ("cpus", self.cpus, "deploy.resources.limits.cpus", bounds.cpus),
            ("mem_limit", self.mem_limit, "deploy.resources.limits.memory", bounds.memory),
            ("pids_limit", self.pids_limit, "deploy.resources.limits.pids", bounds.pids),
            ("mem_reservation", self.mem_reservation, "deploy.resources.reservations.memory", reserved.memory),
            ("scale", self.scale, "deploy.replicas", self.deploy.replicas),
        ):
            if own is not None and other is not None and own != other:
                raise Wrong((key,), f"is not the same as {beside}; keep one of the two")
        memory = self.memory
        if self.memswap_limit is not None and (memory is None or self.memswap_limit < memory):
            raise Wrong(
                ("memswap_limit",), "is memory and swap together: it needs a mem_limit, and to be at least that"
            )
        if memory is not None and self.memory_reservation is not None and self.memory_reservation > memory:
            place: Loc = ("mem_reservation",)
            if self.mem_reservation is None:
                place = ("deploy", "resources", "reservations", "memory")
            raise Wrong(place, "is above the limit of memory; it can be at most that")

    @property
    def memory(self) -> int | None:
        return self.mem_limit if self.mem_limit is not None else self.deploy.resources.limits.memory

    @property
    def memory_reservation(self) -> int | None:
        own, other = self.mem_reservation, self.deploy.resources.reservations.memory
        return (own if own is not None else other) or None

    @property
    def copies(self) -> int:
        """How many containers: one or none."""
        stated = self.scale if self.scale is not None else self.deploy.replicas
        return 1 if stated is None else stated
