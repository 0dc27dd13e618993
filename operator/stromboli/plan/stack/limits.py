"""What a service's container may use: what the file asks for, within the policies' ceilings. Pure.

A service that asks for more than a ceiling has been refused (rules.py). One that asks for nothing gets the ceiling, if
there is one: the policies' defaults are meant for runs. Each ceiling is for one container.
"""

from __future__ import annotations

from dataclasses import dataclass

from stromboli.compose.stack import Service
from stromboli.plan.limits import Limits, capped, granted
from stromboli.plan.request import DEFAULT_PIDS


@dataclass(frozen=True, slots=True)
class Resources:
    """The limits of a container; None is no limit. `swap` is memory and swap together, cpus are in thousandths."""

    memory: int | None
    swap: int | None
    reservation: int | None
    cpus: int | None
    pids: int
    shm: int | None


def resources(service: Service, ceilings: Limits) -> Resources:
    """The limits of a service."""
    asked = service.limits
    memory = granted(None, ceilings.memory) if asked.memory is None else asked.memory
    return Resources(
        memory=memory,
        swap=_swap(asked.memory_swap, memory),
        reservation=asked.memory_reservation,
        cpus=granted(None, ceilings.cpus) if asked.cpus is None else asked.cpus,
        pids=asked.pids or capped(DEFAULT_PIDS, ceilings.pids),
        shm=asked.shm_size,
    )


def _swap(asked: int | None, memory: int | None) -> int | None:
    """Memory and swap together. Without a wish there is no swap, as for runs."""
    return memory if memory is None or asked is None else max(memory, asked)
