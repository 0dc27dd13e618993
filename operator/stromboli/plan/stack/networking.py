"""The parts of containers' bodies that have to do with the network. Pure.

A container is on networks of the stack by itself, or it shares the namespace of a holder, whose body then has all that
those who share it ask for: networks, extra hosts, and ports, which are published only if policies allow it.

Podman 4.3 does not know the word host-gateway, so it is replaced by an address. Neither does it choose a port out of
some: the first one is taken that no other service of the stack has.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stromboli.compose.stack import HOST_GATEWAY, ExtraHost, Port, Service
from stromboli.plan.stack import names, namespaces
from stromboli.plan.stack.aliases import aliases
from stromboli.plan.stack.namespaces import Services

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Networking:
    """The parts for each service, and for each holder: by the service after which the namespace is named."""

    services: Mapping[str, Body]
    holders: Mapping[str, Body]


def networking(session_uid: str, services: Services, *, publish: bool, node: str) -> Networking:
    """The networking of a stack. `node` is the node's address, as its containers see it."""
    shared = namespaces.shared(services)
    known = {
        name: {names.network(session_uid, network): {"aliases": list(those)} for network, those in here.items()}
        for name, here in aliases(services).items()
    }
    ports = _chosen(services) if publish else {}
    members: dict[str, list[Service]] = {}
    for name, root in shared.items():
        members.setdefault(root, []).append(services[name])
    return Networking(
        services={
            name: _joining(session_uid, shared[name])
            if name in shared
            else _own(service, known[name], [service], ports, node)
            for name, service in services.items()
        },
        holders={
            root: _own(services[root], known[root], those, ports, node) for root, those in sorted(members.items())
        },
    )


def _joining(session_uid: str, root: str) -> Body:
    return {"netns": {"nsmode": "container", "value": names.holder(session_uid, root).name}}


def _own(
    service: Service, networks: Body, members: Sequence[Service], ports: Mapping[str, list[Body]], node: str
) -> Body:
    if service.network_mode in ("none", "host"):
        return {"netns": {"nsmode": service.network_mode}}
    body: Body = {"netns": {"nsmode": "bridge"}, "Networks": networks}
    hosts = dict.fromkeys(_host(one, node) for member in members for one in member.extra_hosts)
    published = [port for member in members for port in ports.get(member.name, ())]
    return body | ({"hostadd": list(hosts)} if hosts else {}) | ({"portmappings": published} if published else {})


def _host(host: ExtraHost, node: str) -> str:
    return f"{host.name}:{node if host.address == HOST_GATEWAY else host.address}"


def _chosen(services: Services) -> dict[str, list[Body]]:
    """The published ports of each service."""
    every = [port for service in services.values() for port in service.ports]
    taken = {(port.host, port.protocol) for port in every if port.host_last is None}
    found: dict[str, list[Body]] = {}
    for service in services.values():
        for port in service.ports:
            host = _free(port, taken)
            taken.add((host, port.protocol))
            found.setdefault(service.name, []).append(_mapping(port, host))
    return found


def _free(port: Port, taken: Collection[tuple[int | None, str]]) -> int | None:
    if port.host is None or port.host_last is None:
        return port.host
    return next((n for n in range(port.host, port.host_last + 1) if (n, port.protocol) not in taken), port.host)


def _mapping(port: Port, host: int | None) -> Body:
    """Podman takes any port of the node if that is 0."""
    mapping: Body = {"container_port": port.container, "host_port": host or 0, "protocol": port.protocol}
    return mapping | ({"host_ip": port.address} if port.address else {})
