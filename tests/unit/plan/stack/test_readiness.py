"""When a running service is ready, and when it is looked at."""

from __future__ import annotations

from itertools import pairwise

import pytest

from stromboli.plan.stack import readiness
from stromboli.plan.stack.health import Check, Status
from stromboli.plan.stack.order import Phase, State
from stromboli.plan.stack.ports import Listening
from stromboli.plan.stack.readiness import Watch
from stromboli.plan.stack.supervision import Supervision

CHECK = Check(("x",), interval=10, retries=2)
NOTHING, OPEN = Listening(), Listening(frozenset({5432}))


def begun(check: Check | None = None, ports: tuple[int, ...] = (), local: bool = False) -> Watch:
    return readiness.begin(Supervision(check, ports, None, one_shot=False, grace=10), 100, 101, local=local)


def test_with_neither_it_is_ready_when_it_runs() -> None:
    watch = begun()
    assert watch.ready
    assert watch.due is None
    assert readiness.state(watch, 101, 60) == State(Phase.running, ready=True)
    assert readiness.looked(watch, OPEN, 1) is readiness.probed(watch, 1, 1, passed=False) is watch


def test_a_check_says_so_and_goes_on() -> None:
    watch = begun(CHECK)
    assert (watch.ready, watch.due) == (False, 110)
    assert readiness.state(watch, 102, 60) == State(Phase.running, status=Status.starting)
    watch = readiness.probed(watch, 110, 111, passed=True)
    assert (watch.ready, watch.due) == (True, 121)
    assert readiness.state(watch, 111, 60) == State(Phase.running, ready=True, status=Status.healthy)
    for _ in range(2):
        watch = readiness.probed(watch, 121, 121, passed=False)
    assert (watch.ready, watch.due) == (False, 131)
    assert readiness.state(watch, 111, 60).status is Status.unhealthy


def test_ports_are_looked_at_until_the_service_listens() -> None:
    watch = begun(ports=(5432,))
    assert (watch.ready, watch.due) == (False, 101)
    pauses = []
    now = 101.0
    for _ in range(30):
        before, watch = now, readiness.looked(watch, NOTHING, now)
        assert watch.due is not None
        now = watch.due
        pauses.append(now - before)
    assert pauses[0] == pytest.approx(readiness.FIRST_LOOK)
    assert pauses[-1] == pytest.approx(readiness.LATEST_LOOK)
    assert all(one <= another + 1e-9 for one, another in pairwise(pauses))
    watch = readiness.looked(watch, OPEN, now)
    assert (watch.ready, watch.due) == (True, None)


def test_loopback_counts_in_a_shared_namespace() -> None:
    found = Listening(loopback=frozenset({5432}))
    assert not readiness.looked(begun(ports=(5432,)), found, 101).ready
    assert readiness.looked(begun(ports=(5432,), local=True), found, 101).ready


def test_late_is_counted_from_the_start_of_the_container() -> None:
    watch = begun(CHECK)
    assert not readiness.state(watch, 159, 60).late
    assert readiness.state(watch, 160, 60).late
