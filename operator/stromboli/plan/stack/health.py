"""A service's health check: what it is, and how its results become a state, exactly as Docker's. Pure.

Podman runs no checks without systemd, so the operator runs them, by the times that are computed here. The rules are
moby's (daemon/health.go and `merge` of container configurations):

- a field that the file leaves out, or sets to 0, is the image's, each by itself, and after that Docker's default;
- the first probe is one interval after the start, each further one an interval after the end of the one before it; as
  long as the service is starting within its start period, that is `start_interval`;
- one success makes healthy; `retries` failures in a row make unhealthy, and a later success healthy again;
- failures of probes that began within the start period do not count, until there has been one success.

A state is not kept: after a restart of the operator it begins anew, with a probe at once, as in Docker.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from stromboli.compose.stack import HealthCheck
from stromboli.plan.stack.image import SHELL, ImageCheck

INTERVAL, TIMEOUT, RETRIES, START_PERIOD, START_INTERVAL = 30.0, 30.0, 3, 0.0, 5.0
_DIRECT, _IN_SHELL = "CMD", "CMD-SHELL"


@dataclass(frozen=True, slots=True)
class Check:
    """A complete health check. `argv` is what is run in the container."""

    argv: tuple[str, ...]
    interval: float = INTERVAL
    timeout: float = TIMEOUT
    retries: int = RETRIES
    start_period: float = START_PERIOD
    start_interval: float = START_INTERVAL


class Status(StrEnum):
    """Docker's words."""

    starting = "starting"
    healthy = "healthy"
    unhealthy = "unhealthy"


@dataclass(frozen=True, slots=True)
class Health:
    """The state of one start of a container. Times are in seconds, by any clock that is the same for all of them.

    `due` is when the next probe is to begin, and `failures` how many have failed in a row, as far as they count.
    """

    check: Check
    started: float
    due: float
    status: Status = Status.starting
    failures: int = 0


def effective(stated: HealthCheck | None, image: ImageCheck | None, shell: tuple[str, ...] = SHELL) -> Check | None:
    """The check of a service; None if it has none. `shell` is the image's."""
    stated, image = stated or HealthCheck(), image or ImageCheck()
    argv = _argv(stated.test or image.test, shell)
    if argv is None:
        return None
    return Check(
        argv,
        interval=stated.interval or image.interval or INTERVAL,
        timeout=stated.timeout or image.timeout or TIMEOUT,
        retries=stated.retries or image.retries or RETRIES,
        start_period=stated.start_period or image.start_period or START_PERIOD,
        start_interval=stated.start_interval or image.start_interval or START_INTERVAL,
    )


def begin(check: Check, started: float, now: float) -> Health:
    """The state of a container that was started at `started`. If its first probe is overdue, that is due now."""
    health = Health(check, started, started)
    return replace(health, due=max(started + _interval(health, started), now))


def step(health: Health, began: float, ended: float, *, passed: bool) -> Health:
    """The state after a probe. One that did not end in time, or could not be run, has not passed."""
    stepped = replace(health, status=Status.healthy, failures=0) if passed else _failed(health, began)
    return replace(stepped, due=ended + _interval(stepped, ended))


def _failed(health: Health, began: float) -> Health:
    if health.status is Status.starting and began - health.started < health.check.start_period:
        return health
    failures = health.failures + 1
    unhealthy = failures >= health.check.retries
    return replace(health, failures=failures, status=Status.unhealthy if unhealthy else health.status)


def _interval(health: Health, now: float) -> float:
    """How long to wait from `now` for the next probe."""
    early = now - health.started < health.check.start_period
    return health.check.start_interval if early and health.status is Status.starting else health.check.interval


def _argv(test: tuple[str, ...], shell: tuple[str, ...]) -> tuple[str, ...] | None:
    """The command line of a test; None for NONE, and for anything else that Docker runs no probe for."""
    kind, words = test[:1], test[1:]
    if not words or kind not in ((_DIRECT,), (_IN_SHELL,)):
        return None
    return words if kind == (_DIRECT,) else (*shell, *words)
