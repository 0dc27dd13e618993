"""What a service may use: `deploy`, `ulimits`, and the values of the keys beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, model_validator

from stromboli.compose.typed.base import Ignored, Obeyed, Strict, Wrong
from stromboli.compose.typed.labels import Labels
from stromboli.compose.typed.values import Text, integer, members, number, octets, text

LEAST_MEMORY = 6 * 1024 * 1024  # below this runc cannot start a container at all
MOST_CPUS = 8192  # the most that a Linux kernel can be built for
MOST_PIDS = 4_194_304  # the largest pid_max of Linux
_SWARM = "it is for Docker Swarm"
_RESOURCES = (  # the names of RLIMIT_… in getrlimit(2), as Podman has them
    "as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nofile", "nproc", "rss", "rttime",
    "sigpending", "stack",
)  # fmt: skip

_PRIORITIES = ("nice", "rtprio")


def memory(value: object) -> int:
    """A limit of memory, in bytes."""
    if isinstance(value, str) and value.strip().startswith("-"):
        value = -1
    found = -1 if isinstance(value, int) and not isinstance(value, bool) and value < 0 else octets(value)
    if found <= 0:
        raise ValueError("would be no limit at all, which is not allowed; leave it out for what the policy gives")
    if found < LEAST_MEMORY:
        raise ValueError("is less than the 6 MiB that any container needs; write it such as 512m")
    return found


def pids(value: object) -> int:
    found = integer(value)
    if found <= 0:
        raise ValueError("would be no limit at all, which is not allowed; leave it out for what the policy gives")
    if found > MOST_PIDS:
        raise ValueError(f"is more than the {MOST_PIDS} processes that Linux can have")
    return found


def cpus(value: object) -> int | None:
    """Thousandths of a cpu; 0 is as if it were left out."""
    found = number(value)
    if found == 0:
        return None
    if found < 0 or found > MOST_CPUS:
        raise ValueError(f"is not a number of cpus between 0 and {MOST_CPUS}")
    if found * 1000 < 1:
        raise ValueError("is less than a thousandth of a cpu; write it such as 0.5")
    return round(found * 1000)


def one_copy(value: object) -> int:
    """How many containers of a service there are: one, or none."""
    found = integer(value)
    if found not in (0, 1):
        raise ValueError("has to be 0 or 1: a service is one container here")
    return found


def shared_memory(value: object) -> int:
    found = octets(value)
    if found == 0:
        raise ValueError("is 0; leave it out for the default of 64 MiB")
    return found


Memory = Annotated[int, BeforeValidator(memory)]
Cpus = Annotated[int | None, BeforeValidator(cpus)]
Pids = Annotated[int, BeforeValidator(pids)]
Copies = Annotated[int, BeforeValidator(one_copy)]
SharedMemory = Annotated[int, BeforeValidator(shared_memory)]
_MemoryText = Annotated[int, BeforeValidator(lambda value: memory(text(value)))]  # Compose wants no number there
_OctetsText = Annotated[int, BeforeValidator(lambda value: octets(text(value)))]


class Bounds(Strict):
    """`deploy.resources.limits`."""

    cpus: Annotated[Cpus, Obeyed()] = None
    memory: Annotated[_MemoryText | None, Obeyed()] = None
    pids: Annotated[Pids | None, Obeyed()] = None


class Reservations(Strict):
    """`deploy.resources.reservations`."""

    refused: ClassVar = {
        "devices": "devices of the node, such as GPUs, are not available to services",
        "generic_resources": "it is for Docker Swarm; take it out",
    }

    cpus: Annotated[Cpus, Ignored("nothing is set aside for a service")] = None
    memory: Annotated[_OctetsText | None, Obeyed()] = None


class Resources(Strict):
    """`deploy.resources`."""

    limits: Annotated[Bounds, Obeyed()] = Bounds()
    reservations: Annotated[Reservations, Obeyed()] = Reservations()


def _any(value: object) -> object:
    return members(value)


_Swarm = Annotated[Mapping[str, object], BeforeValidator(_any)]


class Deploy(Strict):
    """`deploy`."""

    resources: Annotated[Resources, Obeyed()] = Resources()
    replicas: Annotated[Copies | None, Obeyed("0 or 1; with 0 the service is not started.")] = None
    mode: Annotated[Text | None, Ignored(_SWARM)] = None
    endpoint_mode: Annotated[Text | None, Ignored(_SWARM)] = None
    labels: Annotated[Labels | None, Ignored(_SWARM)] = None
    placement: Annotated[_Swarm | None, Ignored(_SWARM)] = None
    restart_policy: Annotated[_Swarm | None, Ignored(_SWARM)] = None
    rollback_config: Annotated[_Swarm | None, Ignored(_SWARM)] = None
    update_config: Annotated[_Swarm | None, Ignored(_SWARM)] = None


def _limit(value: object) -> int:
    found = integer(value)
    if found < -1:
        raise ValueError("is negative; -1 stands for no limit")
    return found


class Ulimit(Strict):
    """One of `ulimits`."""

    soft: Annotated[Annotated[int, BeforeValidator(_limit)], Obeyed()]
    hard: Annotated[
        Annotated[int, BeforeValidator(_limit)], Obeyed("-1, or more than the node allows: what it allows.")
    ]

    @model_validator(mode="after")
    def _whole(self) -> Ulimit:
        if self.hard != -1 and (self.soft == -1 or self.soft > self.hard):
            raise Wrong(("soft",), "is above the hard limit; it can be at most the same")
        return self


def _ulimits(value: object) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, one in members(value).items():
        if name in _PRIORITIES:
            raise Wrong((name,), "is not supported: with it, a service could take the node's cpus from everybody else")
        if name not in _RESOURCES:
            raise Wrong((name,), f"is no limit that Linux has; it has {', '.join(_RESOURCES)}")
        found[name] = one if isinstance(one, dict) else {"soft": one, "hard": one}
    return found


Ulimits = Annotated[dict[str, Ulimit], BeforeValidator(_ulimits)]
