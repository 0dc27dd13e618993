"""The names by which services reach each other on the stack's networks. Pure.

The name of a service, its `container_name` and its `aliases` are its own. Further names are for convenience, and are
left out where another service on that network has them as its own: the hostname (as newer versions of Docker do) and
the aliases of `links` to it. Podman's name server makes no difference between capitals and small letters.
"""

from __future__ import annotations

from collections.abc import Iterator

from stromboli.plan.stack import namespaces
from stromboli.plan.stack.namespaces import Services


def aliases(services: Services) -> dict[str, dict[str, tuple[str, ...]]]:
    """Service → network → its names there. Services that share a namespace are known by the names of the one after
    which it is named, as in Compose.
    """
    networks = {name: namespaces.networks(service) for name, service in services.items()}
    owners: dict[tuple[str, str], str] = {}
    for name in services:
        owners |= {
            (network, alias.lower()): name for network in networks[name] for alias in _own(services, name, network)
        }

    def answers(name: str, network: str) -> tuple[str, ...]:
        further = (a for a in _further(services, name, network) if owners.get((network, a.lower()), name) == name)
        return tuple(dict.fromkeys((*_own(services, name, network), *further)))

    return {name: {network: answers(name, network) for network in networks[name]} for name in services}


def hidden_links(services: Services) -> Iterator[str]:
    """A sentence for each link under whose alias another service answers."""
    lower = {name.lower() for name in services}
    for service in services.values():
        for link in service.links:
            if link.alias != link.service and link.alias.lower() in lower:
                yield (
                    f"{link.at}: {link.alias} is the service {link.alias} here, not {link.service}: links have no "
                    f"names of their own on a network; call {link.service} by its name"
                )


def _own(services: Services, name: str, network: str) -> Iterator[str]:
    service = services[name]
    yield name
    if service.container_name:
        yield service.container_name
    if network in service.networks:
        yield from service.networks[network].aliases


def _further(services: Services, name: str, network: str) -> Iterator[str]:
    service = services[name]
    if service.hostname:
        yield service.hostname
    for other in services.values():
        if network in namespaces.networks(other):
            yield from (link.alias for link in other.links if link.service == name)
