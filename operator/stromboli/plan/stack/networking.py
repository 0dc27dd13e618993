"""The parts of containers' bodies that have to do with the network. Pure.

A container is on networks of the stack by itself, or it shares the namespace of a holder, whose body then has all that
those who share it ask for: networks, extra hosts, and ports, which are published only if policies allow it.

Podman 4.3 does not know the word host-gateway, so it is replaced by an address.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    members: dict[str, list[Service]] = {}
    for name, root in shared.items():
        members.setdefault(root, []).append(services[name])
    return Networking(
        services={
            name: _joining(session_uid, shared[name])
            if name in shared
            else _own(service, known[name], [service], publish=publish, node=node)
            for name, service in services.items()
        },
        holders={
            root: _own(services[root], known[root], those, publish=publish, node=node)
            for root, those in sorted(members.items())
        },
    )


def _joining(session_uid: str, root: str) -> Body:
    return {"netns": {"nsmode": "container", "value": names.holder(session_uid, root).name}}


def _own(service: Service, networks: Body, members: Sequence[Service], *, publish: bool, node: str) -> Body:
    if service.network_mode in ("none", "host"):
        return {"netns": {"nsmode": service.network_mode}}
    body: Body = {"netns": {"nsmode": "bridge"}, "Networks": networks}
    hosts = dict.fromkeys(_host(one, node) for member in members for one in member.extra_hosts)
    ports = [_port(port) for member in members for port in member.ports] if publish else []
    return body | ({"hostadd": list(hosts)} if hosts else {}) | ({"portmappings": ports} if ports else {})


def _host(host: ExtraHost, node: str) -> str:
    return f"{host.name}:{node if host.address == HOST_GATEWAY else host.address}"


def _port(port: Port) -> Body:
    """Podman chooses a port of the node if that is 0."""
    mapping: Body = {"container_port": port.container, "host_port": port.host or 0, "protocol": port.protocol}
    return mapping | ({"host_ip": port.address} if port.address else {})
