"""What is seen of a stack → what its users are told: entries of the session's status, events. No decisions here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from stromboli.models.agentsession import ServiceHealth, ServiceState
from stromboli.models.session import ServiceEntry
from stromboli.node.stacks.running import Replaced, Seen, Told, Unready
from stromboli.node.stacks.tending import Ended
from stromboli.plan import services
from stromboli.plan.services import Notice
from stromboli.plan.stack.health import Status
from stromboli.plan.stack.order import Phase

_COUNT = re.compile(r"\b[0-9]+ times\b")
_STATES = {
    Phase.waiting: ServiceState.pending,
    Phase.starting: ServiceState.created,
    Phase.running: ServiceState.running,
    Phase.restarting: ServiceState.exited,
    Phase.ended: ServiceState.exited,
    Phase.failed: ServiceState.exited,
}
_HEALTH = {
    None: ServiceHealth.none,
    Status.starting: ServiceHealth.starting,
    Status.healthy: ServiceHealth.healthy,
    Status.unhealthy: ServiceHealth.unhealthy,
}


def entries(seen: tuple[Seen, ...]) -> tuple[ServiceEntry, ...]:
    """The services of a stack, as the session's status has them."""
    return tuple(_entry(one) for one in seen)


def completed(found: tuple[ServiceEntry, ...], known: Mapping[str, ServiceEntry]) -> tuple[ServiceEntry, ...]:
    """The services with the images that were known before, of a stack that an operator has found running."""
    return tuple(
        replace(one, image=known[one.name].image, digest=known[one.name].digest)
        if not one.image and one.name in known
        else one
        for one in found
    )


def stopped(known: tuple[ServiceEntry, ...]) -> tuple[ServiceEntry, ...]:
    """The same services once the stack was stopped."""
    return tuple(
        ServiceEntry(one.name, one.image, one.digest, ServiceState.stopped, restarts=one.restarts) for one in known
    )


def topic(told: Told) -> str:
    """What happened, without what differs each time: a service that crashes in a loop is not an event each time."""
    match told:
        case Ended():
            return f"{told.service} ended with {told.code}"
        case Replaced():
            return notice(told).message
        case Unready():
            return f"{told.failure.service} {_COUNT.sub('times', told.failure.what)}"


def notice(told: Told) -> Notice:
    """The event about something that happened."""
    match told:
        case Ended():
            return services.restarted(told.service, told.code, told.output)
        case Replaced():
            return services.replaced(told.service, told.why)
        case Unready():
            return services.failed_alone(told.failure.service, told.failure.what, told.output)


def _entry(seen: Seen) -> ServiceEntry:
    state = seen.state
    return ServiceEntry(
        name=seen.name,
        image=seen.image,
        digest=seen.digest,
        state=_STATES[state.phase],
        health=_HEALTH[state.status],
        ready=state.ready,
        restarts=seen.restarts,
        started=seen.started,
        message=state.why,
    )
