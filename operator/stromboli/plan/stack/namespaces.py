"""Which services share a network namespace (`network_mode: service:X`), and which networks a service is on. Pure.

A shared namespace belongs to a container of the stack's own, so that X can be replaced and nothing else notices. X is
in it like the others: all that has to do with the network (networks, aliases, ports, hosts) is the holder's.
"""

from __future__ import annotations

from collections.abc import Mapping

from stromboli.compose import selection
from stromboli.compose.stack import Service

DEFAULT = "default"

Services = Mapping[str, Service]


def shared(services: Services) -> dict[str, str]:
    """Every service in a shared namespace → the service after which the namespace is named, which is one of them.

    With `a: service:b` and `b: service:c`, all three are in the namespace of c. There are no cycles in `services`.
    """
    found: dict[str, str] = {}
    for name in services:
        root = _root(services, name)
        if root != name:
            found[name] = root
            found[root] = root
    return found


def networks(service: Service) -> tuple[str, ...]:
    """The networks of the file that a service is on by itself; none if it has no network, or shares one.

    Compose's `bridge` is a network of the whole host; here it is the stack's default network.
    """
    if service.network_mode is None:
        return tuple(service.networks) or (DEFAULT,)
    return (DEFAULT,) if service.network_mode == "bridge" else ()


def _root(services: Services, name: str) -> str:
    while (other := selection.joined(services[name])) is not None:
        name = other
    return name
