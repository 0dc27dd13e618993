"""What the policies of a namespace say about stacks: each rule with the policy that it is from, for messages. Pure.

Stacks are on unless a policy turns them off: a service gets nothing that a run does not get. Its image has to be
allowed like any other, and the files of the node are only there where `volumes.allowed` says so. Whatever opens a stack
further is off unless a policy turns it on. A policy that does not state a field has no say in it; of those that do, the
strictest applies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from stromboli.errors import InvalidInput
from stromboli.grammar import capability
from stromboli.models.agentpolicy import ComposePolicy
from stromboli.plan import amounts

DEFAULT_HEALTH_TIMEOUT = 300.0
DEFAULT_BUILD_TIMEOUT = 900.0
DEFAULT_IDLE_TTL = 1800.0
DEFAULT_MAX_SERVICES = 64
N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True)
class Switch:
    """Whether `field` allows something, and the policy that decides; None if no policy states it."""

    field: str
    on: bool
    owner: str | None = None

    @property
    def refusal(self) -> str | None:
        """Why it is not allowed, as a part of a sentence; None if it is."""
        if self.on:
            return None
        return f"no policy sets {self.field}: true" if self.owner is None else f"{self.owner} sets {self.field}: false"


@dataclass(frozen=True, slots=True)
class Bound(Generic[N]):
    """The value of `field`, as a number and as its owner wrote it; `owner` is None for the default."""

    field: str
    value: N
    text: str
    owner: str | None = None

    def __str__(self) -> str:
        return f"{self.field}, {self.text}" + (f" in {self.owner}" if self.owner else " by default")


@dataclass(frozen=True, slots=True)
class CapabilityList:
    """Capabilities that a service may have beyond the default ones, and the policy that they are from."""

    owner: str
    names: frozenset[str]

    def has(self, name: str) -> bool:
        return name in self.names or capability.ALL in self.names


@dataclass(frozen=True, slots=True)
class ComposeRules:
    """The rules of one namespace; by default, those of a namespace without policies. Times in seconds."""

    enabled: Switch = Switch("compose.enabled", on=True)
    privileged: Switch = Switch("compose.allowPrivileged", on=False)
    host_network: Switch = Switch("compose.allowHostNetwork", on=False)
    ports: Switch = Switch("compose.allowPorts", on=False)
    build: Switch = Switch("compose.allowBuild", on=False)
    capabilities: tuple[CapabilityList, ...] = ()
    health_timeout: Bound[float] = Bound("compose.healthTimeout", DEFAULT_HEALTH_TIMEOUT, "5m")
    build_timeout: Bound[float] = Bound("compose.buildTimeout", DEFAULT_BUILD_TIMEOUT, "15m")
    idle_ttl: Bound[float] = Bound("compose.idleTTL", DEFAULT_IDLE_TTL, "30m")
    max_services: Bound[int] = Bound("compose.maxServices", DEFAULT_MAX_SERVICES, str(DEFAULT_MAX_SERVICES))

    def capability_refusal(self, name: str) -> str | None:
        """Why a service may not add this capability (a name as of grammar/capability.py), as a part of a sentence."""
        if not self.capabilities:
            return f"no policy has {name} in compose.capabilities"
        without = next((one.owner for one in self.capabilities if not one.has(name)), None)
        return None if without is None else f"{without} does not have {name} in compose.capabilities"


def combined(stated: Sequence[tuple[str, ComposePolicy]]) -> ComposeRules:
    """The strictest of each, from (owner, what its policy states). Raises InvalidInput for an invalid value."""
    rules = ComposeRules()

    def switch(default: Switch, get: Callable[[ComposePolicy], bool | None]) -> Switch:
        said = [Switch(default.field, value, owner) for owner, one in stated if (value := get(one)) is not None]
        return min(said, key=lambda one: one.on, default=default)

    def least(default: Bound[N], get: Callable[[ComposePolicy], object | None], number: Callable[[str], N]) -> Bound[N]:
        said = [
            Bound(default.field, _number(default.field, str(value), number), str(value), owner)
            for owner, one in stated
            if (value := get(one)) is not None
        ]
        return min(said, key=lambda one: one.value, default=default)

    return ComposeRules(
        enabled=switch(rules.enabled, lambda c: c.enabled),
        privileged=switch(rules.privileged, lambda c: c.allow_privileged),
        host_network=switch(rules.host_network, lambda c: c.allow_host_network),
        ports=switch(rules.ports, lambda c: c.allow_ports),
        build=switch(rules.build, lambda c: c.allow_build),
        capabilities=tuple(
            CapabilityList(owner, frozenset(map(capability.parse, one.capabilities)))
            for owner, one in stated
            if one.capabilities is not None
        ),
        health_timeout=least(rules.health_timeout, lambda c: c.health_timeout, amounts.timeout),
        build_timeout=least(rules.build_timeout, lambda c: c.build_timeout, amounts.timeout),
        idle_ttl=least(rules.idle_ttl, lambda c: c.idle_ttl, amounts.timeout),
        max_services=least(rules.max_services, lambda c: c.max_services, int),
    )


def _number(field: str, text: str, number: Callable[[str], N]) -> N:
    try:
        return number(text)
    except InvalidInput as e:
        raise InvalidInput(f"{field.removeprefix('compose.')}: {e.message}") from e
