"""Which services of a stack are on, which one is the agent's, and what each of them needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from stromboli.compose.problem import key, quoted
from stromboli.compose.stack import Anonymous, Condition, Dependency, Named, Port, Service, Stack
from stromboli.errors import ComposeProblem

ALL = "*"
MOST_NETWORKS, MOST_VOLUMES, MOST_MOUNTS = 32, 256, 2_000  # of all services together
SHARED = "service:"
_SHOWN = 20  # names in a message


@dataclass(frozen=True, slots=True)
class Selected:
    """What is started: the services that are on, in the file's order, the agent's among them."""

    agent: str
    services: Mapping[str, Service]


def select(stack: Stack, profiles: Iterable[str], service: str | None) -> Selected:
    """The services that are on with these profiles. Raises ComposeProblem; its key is `service` if that is the problem.

    Services with a scale of 0 are not started, and nothing waits for them.
    """
    active = frozenset(profiles)
    enabled = {name: one for name, one in stack.services.items() if _is_on(one, active)}
    agent = _agent(stack, enabled, service)
    for one in enabled.values():
        _declared(one, stack)
        for need in needs(one):
            _is_there(one, need, stack, enabled)
    _no_cycle(stack.services)
    started = {name: one for name, one in enabled.items() if one.scale or name == agent}
    _namespaces_exist(started)
    _names_differ(started)
    _ports_differ(started)
    _are_not_too_many(started)
    return Selected(agent, started)


def _is_on(service: Service, active: frozenset[str]) -> bool:
    return not service.profiles or ALL in active or not active.isdisjoint(service.profiles)


def _agent(stack: Stack, enabled: Mapping[str, Service], service: str | None) -> str:
    if service is None:
        if len(enabled) == 1:
            return next(iter(enabled))
        problem = "the file has several services; name the one in which the agent runs" if enabled else _NONE_ON
        raise ComposeProblem("service", f"{problem}: {_listed(enabled or stack.services)}")
    if service not in stack.services:
        problem = f'the file has no service "{quoted(service)}"; it has {_listed(stack.services)}'
        raise ComposeProblem("service", problem)
    if service not in enabled:
        wanted = _profiles(stack.services[service])
        raise ComposeProblem("service", f"{service} is off: turn on one of its profiles ({wanted}) in profiles")
    return service


_NONE_ON = "all services of the file are off; turn on a profile of one of them in profiles"


def _listed(names: Iterable[str]) -> str:
    some = list(names)
    return ", ".join(some[:_SHOWN]) + (f" and {len(some) - _SHOWN} more" if len(some) > _SHOWN else "")


def _profiles(service: Service) -> str:
    return _listed(map(quoted, service.profiles))


def joined(service: Service) -> str | None:
    """The service whose network namespace it is in; None if it is in its own."""
    mode = service.network_mode or ""
    return mode.removeprefix(SHARED) if mode.startswith(SHARED) else None


def needs(service: Service) -> Iterator[Dependency]:
    """All that a service depends on, each once: `depends_on`, and what follows from `links` and `network_mode`."""
    stated = {need.service: need for need in service.depends_on}
    for link in service.links:
        stated.setdefault(link.service, Dependency(link.at, link.service, Condition.started, restart=True))
    if (other := joined(service)) is not None:
        at = _at(service, "network_mode")
        stated.setdefault(other, Dependency(at, other, Condition.started, restart=True))
    yield from stated.values()


def _at(service: Service, key: str) -> str:
    """The place of one of the service's keys."""
    return next((at for at in service.keys if at.endswith(f".{key}")), f"services.{service.name}.{key}")


def _problem(service: Service, at: str, what: str) -> ComposeProblem:
    return ComposeProblem(at, what, service.where(at))


def _declared(service: Service, stack: Stack) -> None:
    for network, attached in service.networks.items():
        if network not in stack.networks:
            what = f"the network {network} is not declared; add it to the top-level networks"
            raise _problem(service, attached.at, what)
    for mount in service.mounts:
        if isinstance(mount, Named) and mount.volume not in stack.volumes:
            what = (
                f"the volume {quoted(mount.volume)} is not declared; add it to the top-level volumes, or begin its "
                "path with ./ if a folder is meant"
            )
            raise _problem(service, mount.at, what)


def _is_there(service: Service, need: Dependency, stack: Stack, enabled: Mapping[str, Service]) -> None:
    if need.service not in stack.services:
        raise _problem(service, need.at, f'the file has no service "{quoted(need.service)}"')
    if need.service not in enabled and need.required:
        wanted = _profiles(stack.services[need.service])
        what = f"{need.service} is off: turn on one of its profiles ({wanted}), or write required: false"
        raise _problem(service, need.at, what)


def _no_cycle(services: Mapping[str, Service]) -> None:
    """Walks depth first, without recursion: a file may be one long chain."""
    done: set[str] = set()
    for first in services:
        path: dict[str, Iterator[Dependency]] = {} if first in done else {first: needs(services[first])}
        while path:
            name, left = next(reversed(path.items()))
            need = next((each for each in left if each.service in services), None)
            if need is None:
                done.add(name)
                del path[name]
            elif need.service in path:
                whole = [*path]
                cycle = [*whole[whole.index(need.service) :], need.service]
                raise _cycle(services, cycle)
            elif need.service not in done:
                path[need.service] = needs(services[need.service])


def _cycle(services: Mapping[str, Service], cycle: list[str]) -> ComposeProblem:
    """The problem, at the service of the cycle that comes first in the file."""
    order = list(services)
    start = min(range(len(cycle) - 1), key=lambda n: order.index(cycle[n]))
    turned = [*cycle[start:-1], *cycle[:start], cycle[start]]
    service = services[turned[0]]
    need = next(each for each in needs(service) if each.service == turned[1])
    return _problem(service, need.at, f"is part of a cycle: {' needs '.join(_short(turned))}; take one of them out")


def _short(names: list[str]) -> list[str]:
    return names if len(names) <= _SHOWN else [*names[: _SHOWN // 2], "…", *names[-_SHOWN // 2 :]]


def _namespaces_exist(started: Mapping[str, Service]) -> None:
    for service in started.values():
        if (other := joined(service)) is not None and other not in started:
            what = f"{other} is not started (its scale is 0), so there is no network to share"
            raise _problem(service, _at(service, "network_mode"), what)


def _names_differ(started: Mapping[str, Service]) -> None:
    """No service answers to the name of another one. Name servers make no difference between capitals and others."""
    owners: dict[str, str] = {}
    for name, service in started.items():
        if (owner := owners.setdefault(name.lower(), name)) != name:
            what = f"differs from the service {owner} by capitals alone, and both would answer; rename one"
            raise _problem(service, key(("services", name)), what)
    for name, service in started.items():
        if (other := service.container_name) is None:
            continue
        if (owner := owners.setdefault(other.lower(), name)) != name:
            what = f"{other} is the name of the service {owner} already; choose another one"
            raise _problem(service, _at(service, "container_name"), what)
    for name, service in started.items():
        for attached in service.networks.values():
            for n, alias in enumerate(attached.aliases):
                if (owner := owners.get(alias.lower(), name)) != name:
                    what = f"{alias} is the name of the service {owner}; choose another alias"
                    raise _problem(service, f"{attached.at}.aliases[{n}]", what)


def _are_not_too_many(started: Mapping[str, Service]) -> None:
    """What is created on the node for a stack has bounds: its pool of networks, for one, is everybody's."""
    networks, volumes, mounts = set[str](), set[str](), 0
    for service in started.values():
        for network, attached in service.networks.items():
            networks.add(network)
            if len(networks) > MOST_NETWORKS:
                what = f"is one too many: a stack may have {MOST_NETWORKS} networks"
                raise _problem(service, attached.at, what)
        for mount in service.mounts:
            mounts += 1
            if isinstance(mount, Named | Anonymous):
                volumes.add(mount.volume if isinstance(mount, Named) else mount.at)
            if len(volumes) > MOST_VOLUMES or mounts > MOST_MOUNTS:
                most = f"{MOST_VOLUMES} volumes" if len(volumes) > MOST_VOLUMES else f"{MOST_MOUNTS} mounts"
                raise _problem(service, mount.at, f"is one too many: a stack may have {most}")


def _ports_differ(started: Mapping[str, Service]) -> None:
    taken: dict[tuple[int, str], list[Port]] = {}
    for service in started.values():
        for port in service.ports:
            if port.host is None or port.host_last is not None:
                continue
            others = taken.setdefault((port.host, port.protocol), [])
            clash = next((one for one in others if _same_address(one.address, port.address)), None)
            if clash is not None:
                what = f"port {port.host}/{port.protocol} of the node is taken by {clash.at}; choose another one"
                raise _problem(service, port.at, what)
            others.append(port)


def _same_address(one: str | None, other: str | None) -> bool:
    return one == other or one in _ANY or other in _ANY


_ANY = (None, "0.0.0.0", "::")
