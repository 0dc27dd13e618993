"""The start of a stack: which services may start now, what ends the start, and when the agent may begin. Pure.

Services start as soon as their dependencies allow, side by side. As in Compose, a dependency that is waited for as
healthy and ends, is unhealthy or has no check, or that is waited for as completed and ends with another code than 0,
fails at once, unless it is optional. A service is late if it was not ready, or did not end, within the policy's time.

The agent begins when every other service is settled: it is ready, has ended, or is forgiven. On which failures that
depends, is in `dependencies.py`. A dependency on the agent's own service counts as met from the beginning: what it
would run there is replaced by the agent, who in turn waits for everybody.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from stromboli.compose.problem import key
from stromboli.compose.stack import Condition, Dependency
from stromboli.plan.stack import dependencies
from stromboli.plan.stack.health import Status
from stromboli.plan.stack.namespaces import Services

NO_CHECK = "has no health check, in the file or in its image, but others wait for it to be healthy"


class Phase(StrEnum):
    """What a service's container does. `failed`: it cannot be started, or ends again and again; see `State.why`."""

    waiting = "waiting"
    starting = "starting"
    running = "running"
    restarting = "restarting"
    ended = "exited"
    failed = "failed"


@dataclass(frozen=True, slots=True)
class State:
    """What is known about a service. `status` is that of its health check, None if it has none; `code` its exit code.

    `why` is why it failed, as a predicate: "cannot be started: …". `unproven`: it has ended and was never ready before,
    and the file does not ask for a restart. It is started again all the same, but whoever waits for it to be healthy
    gives up, as in Compose.
    """

    phase: Phase = Phase.waiting
    ready: bool = False
    status: Status | None = None
    code: int = 0
    late: bool = False
    why: str = ""
    unproven: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong with a service, as a predicate that follows its name. `at` is the key that asked for more, or the
    service's own.
    """

    service: str
    at: str
    what: str


@dataclass(frozen=True, slots=True)
class Step:
    """What is next. With a `failure` the start is over; `done` means that the agent may begin.

    `waiting` are the services that are not settled, and `warnings` what is forgiven.
    """

    start: tuple[str, ...]
    waiting: tuple[str, ...]
    failure: Failure | None
    warnings: tuple[Failure, ...]

    @property
    def done(self) -> bool:
        return not self.waiting and self.failure is None


def step(services: Services, agent: str, states: Mapping[str, State]) -> Step:
    """The next step. `states` has all services but the agent's."""
    edges = {
        name: tuple(one for one in dependencies.of(service, services) if one.service != agent)
        for name, service in services.items()
    }
    blocked = _blocked(edges, states)
    once, needed = dependencies.completes(services), dependencies.needed(services, agent)
    failures = {
        failure: fatal and failure.service in needed
        for failure, fatal in _failures(edges, {n: s for n, s in states.items() if n not in blocked})
    }
    unstarted = (Failure(n, key(("services", n)), f"is not started: it depends on {on}") for n, on in blocked.items())
    return Step(
        start=tuple(
            name
            for name, state in states.items()
            if state.phase is Phase.waiting
            and name not in blocked
            and all(_is_over(one, states[one.service], lost=one.service in blocked) for one in edges[name])
        ),
        waiting=tuple(n for n, s in states.items() if n not in blocked and not _is_settled(s, once=n in once)),
        failure=next((failure for failure, fatal in failures.items() if fatal), None),
        warnings=(*(failure for failure, fatal in failures.items() if not fatal), *unstarted),
    )


def without_check(services: Services, agent: str, checked: Collection[str]) -> Iterator[Failure]:
    """The dependencies that wait for a service to be healthy that has no health check, and so fail before the start.

    `checked` are the services with one, in the file or in their image.
    """
    for service in services.values():
        for one in dependencies.of(service, services):
            if one.condition is Condition.healthy and one.required and one.service not in {agent, *checked}:
                yield Failure(one.service, f"{one.at}.condition", NO_CHECK)


def _blocked(edges: Mapping[str, tuple[Dependency, ...]], states: Mapping[str, State]) -> dict[str, str]:
    """The services that can never be started → what they require that has failed, or cannot be started either."""
    blocked: dict[str, str] = {}
    waiting = [name for name, state in states.items() if state.phase is Phase.waiting]
    while more := {
        name: one.service
        for name in waiting
        if name not in blocked
        for one in edges[name]
        if one.required and (one.service in blocked or _fault(one, states[one.service]))
    }:
        blocked |= more
    return blocked


def _is_over(dependency: Dependency, state: State, *, lost: bool) -> bool:
    """Whether it need not be waited for any longer: it is met, or optional and cannot be met."""
    return _is_met(dependency, state) or (not dependency.required and (lost or bool(_fault(dependency, state))))


def _is_met(dependency: Dependency, state: State) -> bool:
    match dependency.condition:
        case Condition.started:
            return state.phase in (Phase.running, Phase.restarting, Phase.ended)
        case Condition.healthy:
            return state.phase is Phase.running and state.status is Status.healthy
        case Condition.completed:
            return state.phase is Phase.ended and state.code == 0


def _fault(dependency: Dependency, state: State) -> str:
    """Why a dependency can never be met, as a predicate of the service; empty if it may be, or is."""
    if _is_met(dependency, state):
        return ""
    if state.phase is Phase.failed:
        return state.why
    match dependency.condition:
        case Condition.started:
            return ""
        case Condition.healthy:
            return _not_healthy(state)
        case Condition.completed:
            return _not_completed(state)


def _not_healthy(state: State) -> str:
    if state.phase is Phase.ended or state.unproven:
        return f"exited ({state.code}) while others waited for it to be healthy"
    if state.phase is Phase.running and state.status is None:
        return NO_CHECK
    if state.status is Status.unhealthy:
        return "is unhealthy"
    return "did not become healthy in time" if state.late else ""


def _not_completed(state: State) -> str:
    if state.phase is Phase.ended:
        return f"exited ({state.code}), but others wait for it to succeed"
    return "did not end in time, but others wait for it to succeed" if state.late else ""


def _failures(
    edges: Mapping[str, tuple[Dependency, ...]], states: Mapping[str, State]
) -> Iterator[tuple[Failure, bool]]:
    """What went wrong with these services, one each, with whether it ends the start if the service is needed."""
    asked: dict[str, list[Dependency]] = {}
    for one in (one for those in edges.values() for one in those):
        asked.setdefault(one.service, []).append(one)
    for name, state in states.items():
        broken = {
            one: what for one in asked.get(name, ()) if (what := _fault(one, state)) and state.phase is not Phase.failed
        }
        required = next((one for one in broken if one.required), None)
        if required is not None:
            yield Failure(name, required.at, broken[required]), True
        elif what := _own_fault(state):
            yield Failure(name, key(("services", name)), what), state.phase is not Phase.running
        elif broken:
            one, what = next(iter(broken.items()))
            yield Failure(name, one.at, what), False


def _own_fault(state: State) -> str:
    """What is wrong with a service, whatever others wait for."""
    if state.phase is Phase.failed:
        return state.why
    if state.phase is Phase.ended and state.code != 0:
        return f"exited ({state.code})"
    if state.late and not state.ready and state.phase is not Phase.ended:
        return "is unhealthy" if state.status is Status.unhealthy else "is not ready in time"
    return ""


def _is_settled(state: State, *, once: bool) -> bool:
    """Whether the agent need not wait for it. A one-shot (`once`) is not ready before it has ended."""
    if state.phase in (Phase.ended, Phase.failed) or state.late:
        return True
    return state.phase is Phase.running and state.ready and not once
