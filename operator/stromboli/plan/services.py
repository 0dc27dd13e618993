"""What users are told about the services of a stack: progress, why a start failed, what happened since. Pure.

When a service is ready, replaced or restarted is decided in plan/stack/.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stromboli.event_reasons import EventReason
from stromboli.grammar import duration
from stromboli.models.agentsession import ServiceHealth, ServiceState
from stromboli.models.session import ServiceEntry
from stromboli.plan.compose_rules import Bound
from stromboli.plan.verdict import Refuse, Wait
from stromboli.reasons import Reason

_SHOWN = 6  # services in one message
_LINES = 8


@dataclass(frozen=True, slots=True)
class Notice:
    """An event about a stack."""

    reason: EventReason
    message: str


def starting(services: Sequence[ServiceEntry], delay: float) -> Wait:
    """The run waits until they are ready. A large stack's message names only services that are not."""
    return Wait(Reason.StartingServices, progress(services), delay)


def progress(services: Sequence[ServiceEntry]) -> str:
    """`db healthy, cache starting (2 of 3)`."""
    ready = sum(one.ready for one in services)
    told = list(services) if len(services) <= _SHOWN else [one for one in services if not one.ready]
    said = [f"{one.name} {_state(one)}" for one in told[:_SHOWN]]
    if len(told) > _SHOWN:
        said.append(f"{len(told) - _SHOWN} more")
    counted = f"{ready} of {len(services)}"
    return f"{', '.join(said)} ({counted})" if said else counted


def failed(service: str, what: str, output: str = "") -> Refuse:
    """The start failed because of a service: `what` continues its name, `output` is the end of what it printed."""
    said = f"the service {service} {what}, so the agent was not started"
    return Refuse(Reason.ServiceFailed, _with_lines(said, output))


def without_effect(sentence: str) -> Notice:
    """Something in the file has no effect."""
    return Notice(EventReason.StackNotice, sentence)


def replaced(service: str, why: str) -> Notice:
    """A service was created anew; `why` says what has changed."""
    return Notice(EventReason.ServiceReplaced, f"the service {service} was replaced: {why}")


def restarted(service: str, exit_code: int | None, output: str = "") -> Notice:
    """A service had ended while its stack was in use."""
    code = "with an unknown exit code" if exit_code is None else f"with exit code {exit_code}"
    said = f"the service {service} had ended {code} and was started again"
    return Notice(EventReason.ServiceRestarted, _with_lines(said, output))


def not_ready(service: str, what: str, waited: Bound[float]) -> Notice:
    """A service was not seen ready in time, and nothing needs it to be: `what` continues its name."""
    return Notice(
        EventReason.ServiceNotReady, f"the service {service} {what} ({waited}); the agent begins all the same"
    )


def failed_alone(service: str, what: str, output: str = "") -> Notice:
    """A service failed that nothing waits for."""
    said = f"the service {service} {what}; no other one waits for it, so the agent begins all the same"
    return Notice(EventReason.ServiceNotReady, _with_lines(said, output))


def stopped(idle: Bound[float]) -> Notice:
    """Nobody has used the stack for a while."""
    return Notice(
        EventReason.StackStopped,
        f"no run has used the stack for {duration.format(idle.value)} ({idle}); the next run starts it again, with its "
        "data",
    )


def _state(service: ServiceEntry) -> str:
    match service.state:
        case ServiceState.exited:
            return "completed" if service.ready else "exited"
        case ServiceState.running:
            if service.health is ServiceHealth.none:
                return "ready" if service.ready else "starting"
            return str(service.health).lower()
        case _:
            return str(service.state).lower()


def _with_lines(sentence: str, output: str) -> str:
    tail = "\n".join(output.strip().splitlines()[-_LINES:])
    return f"{sentence}; its last lines:\n{tail}" if tail else sentence
