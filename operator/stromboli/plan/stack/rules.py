"""What a namespace's policies allow a stack. Pure.

Services that are off by profile are judged as well: what a file asks for does not depend on how it is started. Images,
and files of the node, are judged elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from stromboli.compose.problem import key
from stromboli.compose.selection import Selected
from stromboli.compose.stack import HOST_GATEWAY, Service, Stack, Tmpfs
from stromboli.errors import ComposeProblem, NotPermitted
from stromboli.plan import volumes
from stromboli.plan.compose_rules import ComposeRules, Switch
from stromboli.plan.limits import Ceiling, Limits

# containers-common: what Podman gives a container if it is not told otherwise.
DEFAULT_CAPABILITIES = frozenset(
    {
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    }
)
GIB = 1024**3
MOST_MEMORY = 256 * GIB
"""For a service, where no policy has a limit."""

_SHOWN = 20  # keys in one sentence


def judge(stack: Stack, selected: Selected, rules: ComposeRules, limits: Limits) -> tuple[str, ...]:
    """Notices about what has no effect because of a policy.

    Raises NotPermitted, and ComposeProblem for what the agent's service cannot have whatever the policies say.
    """
    most = rules.max_services
    if len(selected.services) > most.value:
        what = f"has {len(selected.services)} services that are on, and the most is {most.text} ({most})"
        raise NotPermitted("services", what)
    for service in stack.services.values():
        _opens_nothing(service, rules)
        _stays_within(service, limits)
    for service in selected.services.values():
        if service.build is not None and service.image is None and (why := rules.build.refusal) is not None:
            raise _refused(service, service.build.at, f"images are not built here: {why}; give the service an image")
    _leaves_room(selected.services[selected.agent])
    return tuple(_notices(selected.services, rules))


def _opens_nothing(service: Service, rules: ComposeRules) -> None:
    if service.privileged:
        _needs(service, _key(service, "privileged"), "a privileged service has the whole node", rules.privileged)
    if service.network_mode == "host":
        _needs(service, _key(service, "network_mode"), "the node's network is not for services", rules.host_network)
    for one in service.extra_hosts:
        if one.address == HOST_GATEWAY:
            _needs(service, one.at, "the node's address is not for services", rules.host_network)
    for capability in service.cap_add:
        if capability.name in DEFAULT_CAPABILITIES:
            continue
        if (why := rules.capability_refusal(capability.name)) is not None:
            raise _refused(
                service, capability.at, f"{capability.name} is not among Podman's default capabilities: {why}"
            )


def _needs(service: Service, at: str, what: str, switch: Switch) -> None:
    if (why := switch.refusal) is not None:
        raise _refused(service, at, f"{what}: {why}")


def _stays_within(service: Service, limits: Limits) -> None:
    asked = service.limits
    memory = limits.memory or Ceiling(MOST_MEMORY, f"{MOST_MEMORY // GIB}Gi", "")
    deploy = ("deploy", "resources")
    _at_most(service, ("mem_limit",), (*deploy, "limits", "memory"), asked.memory, memory)
    _at_most(service, ("mem_reservation",), (*deploy, "reservations", "memory"), asked.memory_reservation, memory)
    _at_most(service, ("shm_size",), (), asked.shm_size, memory)
    if asked.memory is not None and asked.memory_swap is not None:
        _at_most(service, ("memswap_limit",), (), asked.memory_swap - asked.memory, memory)
    for mount in service.mounts:
        if isinstance(mount, Tmpfs) and mount.size is not None and mount.size > memory.value:
            raise _over(service, mount.at, f"{mount.size} bytes", "memory", memory)
    if limits.cpus is not None and asked.cpus is not None and asked.cpus > limits.cpus.value:
        at = _stated(service, ("cpus",), (*deploy, "limits", "cpus"))
        raise _over(service, at, f"{asked.cpus / 1000:g} cpus", "cpus", limits.cpus)
    if limits.pids is not None and asked.pids is not None and asked.pids > limits.pids.value:
        at = _stated(service, ("pids_limit",), (*deploy, "limits", "pids"))
        raise _over(service, at, f"{asked.pids} processes", "pids", limits.pids)


def _at_most(
    service: Service, at: tuple[str, ...], other: tuple[str, ...], asked: int | None, most: Ceiling[int]
) -> None:
    if asked is not None and asked > most.value:
        raise _over(service, _stated(service, at, other), f"{asked} bytes", "memory", most)


def _over(service: Service, at: str, asked: str, limit: str, most: Ceiling[int]) -> NotPermitted:
    whose = f"{most.owner} sets in limits.{limit}" if most.owner else f"holds where no policy sets limits.{limit}"
    return _refused(
        service, at, f"{asked} is over the ceiling of {most.text} that {whose}; ask for at most {most.text}"
    )


def _stated(service: Service, at: tuple[str, ...], other: tuple[str, ...]) -> str:
    """Whichever of the two keys the file has."""
    own = _key(service, *at)
    return own if own in service.keys or not other else _key(service, *other)


def _leaves_room(agent: Service) -> None:
    """Around the operator's own mounts, too, nothing can be mounted in the agent's service: something may be in their
    way there. Memory at /run is empty, and mounted before they are.
    """
    memory = {mount.at for mount in agent.mounts if isinstance(mount, Tmpfs) and mount.target == "/run"}
    targets = [(mount.at, mount.target) for mount in agent.mounts if mount.at not in memory]
    targets += [(secret.mounted_at, secret.target) for secret in agent.secrets]
    for at, target in targets:
        if (tree := volumes.reserved(target)) is not None:
            what = (
                f"nothing can be mounted at {target} in the service in which the agent runs: {tree} belongs to the "
                "kernel or to Stromboli; choose another place"
            )
            raise ComposeProblem(at, what, agent.where(at))


def _notices(services: Mapping[str, Service], rules: ComposeRules) -> Iterator[str]:
    ports = [port.at for service in services.values() for port in service.ports]
    if ports and (why := rules.ports.refusal) is not None:
        yield f"not published: {_some(ports)} ({why}); the services reach each other's ports all the same"
    unbuilt = [one.build.at for one in services.values() if one.build is not None and one.image is not None]
    if unbuilt and (why := rules.build.refusal) is not None:
        yield f"not built: {_some(unbuilt)} ({why}); their images are used as they are"


def _some(keys: Iterable[str]) -> str:
    once = list(dict.fromkeys(keys))
    shown = ", ".join(once[:_SHOWN])
    return f"{shown} and {len(once) - _SHOWN} more" if len(once) > _SHOWN else shown


def _key(service: Service, *path: str) -> str:
    return key(("services", service.name, *path))


def _refused(service: Service, at: str, what: str) -> NotPermitted:
    return NotPermitted(at, what, service.where(at))
