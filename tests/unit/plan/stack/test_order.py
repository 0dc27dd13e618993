"""The start of a stack: what may start, what ends it, and what is forgiven."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.compose.stack import Condition, Link, Service
from stromboli.plan.stack import dependencies
from stromboli.plan.stack.health import Status
from stromboli.plan.stack.order import Failure, Phase, State, Step, step, without_check
from tests.unit.plan.stack.stacks import service, stack

WAITING, STARTING, RESTARTING = State(), State(Phase.starting), State(Phase.restarting)
UP = State(Phase.running)
READY = State(Phase.running, ready=True)
CHECKED = State(Phase.running, status=Status.starting)
HEALTHY = State(Phase.running, ready=True, status=Status.healthy)
UNHEALTHY = State(Phase.running, status=Status.unhealthy)
LATE = State(Phase.running, late=True, status=Status.starting)
DONE, BROKEN = State(Phase.ended), State(Phase.ended, code=3)
UNPROVEN = State(Phase.restarting, code=3, unproven=True)
FAILED = State(Phase.failed, why="cannot be started: no such program")


def at(services: dict[str, Service], **states: State) -> Step:
    """The step of a stack whose agent is `app`."""
    others = {name: states.get(name, WAITING) for name in services if name != "app"}
    assert set(states) <= set(others)
    return step(services, "app", others)


def test_side_by_side_where_nothing_is_waited_for() -> None:
    services = stack(service("app", "db", "cache"), service("db"), service("cache"), service("web", "db"))
    assert at(services).start == ("db", "cache")
    assert at(services, db=STARTING, cache=STARTING).start == ()
    assert at(services, db=UP, cache=STARTING).start == ("web",)


@pytest.mark.parametrize(
    ("need", "met", "unmet", "faults"),
    [
        ("db", [UP, READY, RESTARTING, UNPROVEN, DONE, BROKEN, UNHEALTHY, LATE], [WAITING, STARTING], [FAILED]),
        (
            "db healthy",
            [HEALTHY],
            [STARTING, CHECKED, RESTARTING],
            [UP, READY, UNHEALTHY, DONE, BROKEN, UNPROVEN, LATE, FAILED],
        ),
        ("db done", [DONE], [STARTING, UP, READY, HEALTHY, RESTARTING, UNHEALTHY], [BROKEN, LATE, FAILED]),
    ],
)
def test_conditions(need: str, met: list[State], unmet: list[State], faults: list[State]) -> None:
    required, optional = (stack(service("app"), service("db"), service("web", f"{need}{o}")) for o in ("", "?"))
    for state in met:
        assert at(required, db=state).start == ("web",), state
        assert at(optional, db=state).start == ("web",), state
    for state in unmet:
        assert "web" not in at(required, db=state).start, state
        assert "web" not in at(optional, db=state).start, state
        assert at(required, db=state).failure is None, state
        assert not at(required, db=state).done, state
    for state in faults:
        assert "web" not in at(required, db=state).start, state
        assert at(optional, db=state).start == ("web",), state
        assert at(optional, db=state).failure is None, state
        assert [one.service for one in at(optional, db=state).warnings] == ["db"], state


@pytest.mark.parametrize(
    ("need", "state", "what"),
    [
        ("db healthy", DONE, "exited (0) while others waited for it to be healthy"),
        ("db healthy", BROKEN, "exited (3) while others waited for it to be healthy"),
        ("db healthy", UNHEALTHY, "is unhealthy"),
        ("db healthy", READY, "has no health check, in the file or in its image, but others wait for it to be healthy"),
        ("db healthy", LATE, "did not become healthy in time"),
        ("db done", BROKEN, "exited (3), but others wait for it to succeed"),
        ("db done", LATE, "did not end in time, but others wait for it to succeed"),
    ],
)
@pytest.mark.parametrize("dependent", ["app", "web"])
def test_what_ends_a_start_whoever_waits(dependent: str, need: str, state: State, what: str) -> None:
    services = stack(service("db"), service("app"), service("web"))
    services[dependent] = service(dependent, need)
    found = at(services, db=state)
    assert found.failure == Failure("db", f"services.{dependent}.depends_on.db", what)
    assert not found.done


def test_a_required_failure_counts_although_another_forgives_it() -> None:
    services = stack(service("app", "db healthy?"), service("web", "db healthy"), service("db"))
    assert at(services, db=UNHEALTHY).failure is not None
    services = stack(service("app", "db"), service("web", "db healthy?"), service("db"))
    assert at(services, db=BROKEN).failure == Failure("db", "services.db", "exited (3)")
    assert at(services, db=UNHEALTHY, web=UP).failure is None


@pytest.mark.parametrize("state", [FAILED, BROKEN])
def test_what_the_agent_depends_on_must_not_fail(state: State) -> None:
    services = stack(service("app", "web"), service("web", "db"), service("db"), service("tool"))
    failure = at(services, db=state, web=READY, tool=READY).failure
    assert failure is not None
    assert (failure.service, failure.at) == ("db", "services.db")
    for forgiven in (at(services, db=READY, web=READY, tool=state), at(services, db=READY, web=READY, tool=LATE)):
        assert forgiven.failure is None
        assert forgiven.done
        assert [one.service for one in forgiven.warnings] == ["tool"]


def test_an_optional_dependency_of_the_agent_may_fail() -> None:
    services = stack(service("app", "db?"), service("db"))
    found = at(services, db=FAILED)
    assert (found.failure, found.done) == (None, True)
    assert found.warnings == (Failure("db", "services.db", "cannot be started: no such program"),)


def test_the_agent_waits_for_every_service() -> None:
    services = stack(service("app"), service("db"), service("cache"))
    assert not at(services, db=READY, cache=UP).done
    assert at(services, db=READY, cache=UP).waiting == ("cache",)
    assert at(services, db=READY, cache=READY).done
    assert at(services, db=READY, cache=DONE).done


def test_what_is_merely_started_may_be_unready_but_not_for_ever() -> None:
    services = stack(service("app", "db"), service("db"))
    assert not at(services, db=UNHEALTHY).done, "a later success heals"
    assert at(services, db=UNHEALTHY).failure is None
    late = at(services, db=State(Phase.running, late=True))
    assert late.done
    assert late.warnings == (Failure("db", "services.db", "is not ready in time"),)
    ill = at(services, db=State(Phase.running, late=True, status=Status.unhealthy))
    assert ill.warnings == (Failure("db", "services.db", "is unhealthy"),)


def test_a_needed_service_that_does_not_even_run_in_time_ends_the_start() -> None:
    services = stack(service("app", "db"), service("db"))
    for phase in (Phase.starting, Phase.restarting):
        assert at(services, db=State(phase, late=True)).failure is not None


def test_a_one_shot_is_not_done_before_its_end() -> None:
    services = stack(service("app", "migrate done"), service("migrate", "db"), service("db"))
    assert not at(services, db=READY, migrate=READY).done
    assert at(services, db=READY, migrate=DONE).done


def test_what_depends_on_a_failed_one_is_not_started_and_said_so() -> None:
    services = stack(service("app"), service("db"), service("web", "db"), service("proxy", "web"))
    found = at(services, db=FAILED)
    assert (found.start, found.failure, found.done) == ((), None, True)
    assert [(one.service, one.what) for one in found.warnings] == [
        ("db", "cannot be started: no such program"),
        ("web", "is not started: it depends on db"),
        ("proxy", "is not started: it depends on web"),
    ]


def test_only_the_cause_of_a_chain_is_to_blame() -> None:
    services = stack(service("app", "web"), service("web", "db healthy"), service("db"))
    failure = at(services, db=UNHEALTHY).failure
    assert failure is not None
    assert failure.service == "db"


def test_a_dependency_on_the_agent_s_service_is_met() -> None:
    services = stack(service("app", "db"), service("db"), service("web", "app healthy", "app done", "app"))
    assert at(services).start == ("db", "web")
    services = stack(service("app"), service("side", network_mode="service:app"))
    assert at(services).start == ("side",)


def test_links_and_shared_namespaces_are_dependencies() -> None:
    services = stack(
        service("app"),
        service("db"),
        service("web", links=(Link("x", "db", "database"),)),
        service("side", network_mode="service:db"),
    )
    assert at(services).start == ("db",)
    assert at(services, db=UP).start == ("web", "side")


def test_what_is_switched_off_is_not_waited_for() -> None:
    services = stack(service("app", "gone healthy?", "db"), service("db", "gone done?"))
    assert at(services).start == ("db",)
    assert dependencies.needed(services, "app") == {"db"}
    assert dependencies.completes(services) == frozenset()


def test_an_unusual_name_is_a_key_as_everywhere() -> None:
    found = step(stack(service("app", "my.db"), service("my.db")), "app", {"my.db": BROKEN})
    assert found.failure == Failure("my.db", 'services["my.db"]', "exited (3)")


def test_a_missing_check_is_known_before_the_start() -> None:
    services = stack(
        service("app", "db healthy", "cache healthy", "mq healthy?"),
        service("db"),
        service("cache"),
        service("mq"),
        service("web", "app healthy"),
    )
    found = list(without_check(services, "app", {"cache"}))
    assert [(one.service, one.at) for one in found] == [("db", "services.app.depends_on.db.condition")]


NAMES = ("app", "a", "b", "c", "d", "e")
STATES = [WAITING, STARTING, UP, READY, CHECKED, HEALTHY, UNHEALTHY, LATE, RESTARTING, DONE, BROKEN, FAILED]


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Service]:
    """Stacks without cycles, in any order."""
    order = draw(st.permutations(NAMES))
    services = []
    for n, name in enumerate(order):
        targets = draw(st.lists(st.sampled_from(order[:n]), unique=True)) if n else []
        kinds = [draw(st.sampled_from(["", " healthy", " done"])) + draw(st.sampled_from(["", "?"])) for _ in targets]
        services.append(service(name, *(f"{t}{k}" for t, k in zip(targets, kinds, strict=True))))
    return stack(*draw(st.permutations(services)))


MET = {
    Condition.started: [UP, READY, CHECKED, HEALTHY, UNHEALTHY, LATE, RESTARTING, DONE, BROKEN],
    Condition.healthy: [HEALTHY],
    Condition.completed: [DONE],
}


@given(graphs(), st.data())
def test_nothing_starts_before_what_it_requires_and_every_start_comes_to_an_end(
    services: dict[str, Service], data: st.DataObject
) -> None:
    states = {name: WAITING for name in services if name != "app"}
    for _ in range(60):
        found = step(services, "app", states)
        for name in found.start:
            assert states[name] == WAITING
            for one in services[name].depends_on:
                if one.required and one.service != "app":
                    assert states[one.service] in MET[one.condition]
        if found.failure is not None:
            assert found.failure.service in dependencies.needed(services, "app")
            return
        if found.done:
            for name, state in states.items():
                assert state not in (STARTING, UP, CHECKED, UNHEALTHY, RESTARTING)
                assert state != WAITING or name in [one.service for one in found.warnings]
            return
        states |= dict.fromkeys(found.start, STARTING)
        under_way = [name for name in found.waiting if states[name] != WAITING]
        assert under_way, "nothing is under way, and nothing will change"
        moved = data.draw(st.sampled_from(under_way))
        states[moved] = data.draw(st.sampled_from(STATES[2:]))
        if len(under_way) > 1 or data.draw(st.booleans()):
            states[under_way[0]] = data.draw(st.sampled_from([HEALTHY, READY, DONE, BROKEN, LATE, FAILED]))
    states = {name: LATE if state != WAITING else state for name, state in states.items()}
    late = step(services, "app", states)
    assert late.failure is not None or late.done or late.start
