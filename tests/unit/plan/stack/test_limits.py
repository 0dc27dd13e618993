"""What a service may use."""

from __future__ import annotations

from stromboli.compose import stack
from stromboli.plan.limits import Ceiling, Limits
from stromboli.plan.stack.limits import Resources, resources
from tests.unit.plan.stack.stacks import service

GIB = 1 << 30
CEILINGS = Limits(memory=Ceiling(GIB, "1Gi", "P"), cpus=Ceiling(2000, "2", "P"), pids=Ceiling(100, "100", "P"))


def test_a_service_that_asks_for_nothing_gets_the_ceilings() -> None:
    assert resources(service("db"), Limits()) == Resources(None, None, None, None, 2048, None)
    assert resources(service("db"), CEILINGS) == Resources(GIB, GIB, None, 2000, 100, None)


def test_what_it_asks_for_is_obeyed() -> None:
    asked = stack.Limits(memory=512, memory_reservation=256, memory_swap=1024, cpus=500, pids=7, shm_size=64)
    for ceilings in (Limits(), CEILINGS):
        assert resources(service("db", limits=asked), ceilings) == Resources(512, 1024, 256, 500, 7, 64)


def test_there_is_no_swap_without_a_wish() -> None:
    assert resources(service("db", limits=stack.Limits(memory=512)), Limits()).swap == 512
    assert resources(service("db", limits=stack.Limits(memory=512, memory_swap=100)), Limits()).swap == 512
