"""When a running service is ready, and when it is looked at next. Pure.

A service with a health check is ready when that says so; one without that has TCP ports, when it listens (ports.py);
and one with neither as soon as it runs. A check goes on for as long as the container runs, since a service may become
unhealthy and recover; ports are looked at until the service is ready.

A `Watch` is about one start of a container and is not kept: a restarted operator begins a new one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from stromboli.plan.stack import health, ports
from stromboli.plan.stack.health import Health, Status
from stromboli.plan.stack.order import Phase, State
from stromboli.plan.stack.ports import Listening, Ports
from stromboli.plan.stack.supervision import Supervision

# Seconds between two looks at the ports, which costs a read of a small file: at first, and the most.
FIRST_LOOK, LATEST_LOOK, GROWTH = 0.02, 0.5, 1.3


@dataclass(frozen=True, slots=True)
class Watch:
    """What is known of one start of a container, which was at `started`. Times are by one clock.

    At most one of `health` and `ports` is there. `due` is when it is to be looked at next; None if never again.
    """

    started: float
    health: Health | None = None
    ports: Ports | None = None
    due: float | None = None
    pause: float = FIRST_LOOK

    @property
    def ready(self) -> bool:
        """Whether what depends on the service can rely on it."""
        if self.health is not None:
            return self.health.status is Status.healthy
        return self.ports is None or self.ports.ready


def begin(supervision: Supervision, started: float, now: float, *, local: bool) -> Watch:
    """The watch over a container that was started at `started`. `local`: its network namespace is shared."""
    if supervision.check is not None:
        state = health.begin(supervision.check, started, now)
        return Watch(started, health=state, due=state.due)
    if supervision.ports:
        return Watch(started, ports=Ports(frozenset(supervision.ports), local), due=now)
    return Watch(started)


def probed(watch: Watch, began: float, ended: float, *, passed: bool) -> Watch:
    """The watch after a probe of its health check."""
    if watch.health is None:
        return watch
    state = health.step(watch.health, began, ended, passed=passed)
    return replace(watch, health=state, due=state.due)


def looked(watch: Watch, found: Listening, now: float) -> Watch:
    """The watch after a look at what the container listens on."""
    if watch.ports is None:
        return watch
    state = ports.step(watch.ports, found, now)
    pause = min(watch.pause * GROWTH, LATEST_LOOK)
    return replace(watch, ports=state, pause=pause, due=None if state.ready else now + watch.pause)


def state(watch: Watch, now: float, longest: float) -> State:
    """The state of a running service for order.py. `longest` is how long it may take to become ready."""
    status = None if watch.health is None else watch.health.status
    return State(Phase.running, watch.ready, status, late=now - watch.started >= longest)
