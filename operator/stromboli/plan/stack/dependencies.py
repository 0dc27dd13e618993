"""What services depend on, and which of them a start needs. Pure.

Needed are the services that the agent's service depends on, directly or not, and those that any service waits for as
healthy or completed, with what these depend on: if one of them fails, the start ends, as `docker compose up` does. What
nobody waits for is started as well, and the agent waits until it is ready, since many files do not name every database
that their application uses. But it cannot end the start: it may be the very application that the agent is to repair, or
a tool for browsing the database. If it fails, or takes too long, there is a warning, and the agent begins.
"""

from __future__ import annotations

from collections.abc import Iterable
from graphlib import TopologicalSorter

from stromboli.compose import selection
from stromboli.compose.stack import Condition, Dependency, Service
from stromboli.plan.stack.namespaces import Services


def of(service: Service, services: Services) -> tuple[Dependency, ...]:
    """What a service depends on: `depends_on`, and the services that its `links` and its `network_mode` name.

    One that is switched off, by its profile or by `scale: 0`, is none.
    """
    return tuple(one for one in selection.needs(service) if one.service in services)


def needed(services: Services, agent: str) -> frozenset[str]:
    """The services without which a start fails. The agent's own is not among them: nothing of it runs."""
    waited = (
        dependency.service
        for service in services.values()
        for dependency in of(service, services)
        if dependency.required and dependency.condition is not Condition.started
    )
    return frozenset(_closure(services, (agent, *waited))) - {agent}


def completes(services: Services) -> frozenset[str]:
    """The one-shots: services for whose end another one waits."""
    return frozenset(
        dependency.service
        for service in services.values()
        for dependency in of(service, services)
        if dependency.condition is Condition.completed
    )


def sequence(services: Services) -> tuple[str, ...]:
    """All services, each after those that it depends on. There are no cycles in `services`."""
    return tuple(
        TopologicalSorter({n: [one.service for one in of(s, services)] for n, s in services.items()}).static_order()
    )


def _closure(services: Services, names: Iterable[str]) -> set[str]:
    """The services, and all that they require, directly or not."""
    found: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += [one.service for one in of(services[name], services) if one.required]
    return found
