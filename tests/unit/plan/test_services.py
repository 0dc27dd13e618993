"""What users are told about the services of a stack."""

from __future__ import annotations

import pytest

from stromboli.event_reasons import EventReason
from stromboli.models.agentsession import ServiceHealth, ServiceState
from stromboli.models.session import ServiceEntry
from stromboli.plan import services
from stromboli.plan.compose_rules import Bound, ComposeRules
from stromboli.reasons import Reason

RUNNING = ServiceState.running
DB = ServiceEntry("db", state=RUNNING, health=ServiceHealth.healthy, ready=True)
CACHE = ServiceEntry("cache", state=RUNNING, health=ServiceHealth.starting)


def test_progress_has_each_service_and_how_many_are_ready() -> None:
    app = ServiceEntry("app")
    assert services.progress([DB, CACHE, app]) == "db healthy, cache starting, app pending (1 of 3)"
    waits = services.starting([DB, CACHE], 2.0)
    assert (waits.reason, waits.message, waits.delay) == (
        Reason.StartingServices,
        "db healthy, cache starting (1 of 2)",
        2,
    )


@pytest.mark.parametrize(
    ("service", "said"),
    [
        (ServiceEntry("a", state=RUNNING, ready=True), "a ready"),
        (ServiceEntry("a", state=RUNNING), "a starting"),
        (ServiceEntry("a", state=RUNNING, health=ServiceHealth.unhealthy), "a unhealthy"),
        (ServiceEntry("a", state=ServiceState.exited, ready=True), "a completed"),
        (ServiceEntry("a", state=ServiceState.exited), "a exited"),
        (ServiceEntry("a", state=ServiceState.created), "a created"),
        (ServiceEntry("a", state=ServiceState.exited, health=ServiceHealth.healthy), "a exited"),
    ],
)
def test_each_state_has_a_word(service: ServiceEntry, said: str) -> None:
    assert services.progress([service]).split(" (")[0] == said


def test_of_a_large_stack_only_what_is_not_ready_is_named() -> None:
    many = [ServiceEntry(f"s{n}", state=RUNNING, ready=n < 30) for n in range(38)]
    assert services.progress(many) == (
        "s30 starting, s31 starting, s32 starting, s33 starting, s34 starting, s35 starting, 2 more (30 of 38)"
    )
    assert services.progress([ServiceEntry(f"s{n}", ready=True) for n in range(7)]) == "7 of 7"


def test_a_failure_has_the_service_and_its_last_lines() -> None:
    refusal = services.failed("db", "ended with exit code 1", "\n".join(f"line {n}" for n in range(20)) + "\n\n")
    assert refusal.reason is Reason.ServiceFailed
    assert refusal.message == (
        "the service db ended with exit code 1, so the agent was not started; its last lines:\n"
        + "\n".join(f"line {n}" for n in range(12, 20))
    )
    assert services.failed("db", "is unhealthy").message == "the service db is unhealthy, so the agent was not started"


def test_each_notice_is_an_event_of_its_own() -> None:
    rules = ComposeRules()
    found = [
        services.without_effect("services.db.tty has no effect"),
        services.replaced("db", "its image has changed"),
        services.restarted("db", 137, "killed\n"),
        services.restarted("db", None),
        services.not_ready(
            "cache", "accepts no connections on port 6379", Bound("compose.healthTimeout", 60.0, "1m", "AgentPolicy a")
        ),
        services.failed_alone("worker", "ended with exit code 1", "oops"),
        services.stopped(rules.idle_ttl),
    ]
    assert [(one.reason, one.message) for one in found] == [
        (EventReason.StackNotice, "services.db.tty has no effect"),
        (EventReason.ServiceReplaced, "the service db was replaced: its image has changed"),
        (
            EventReason.ServiceRestarted,
            "the service db had ended with exit code 137 and was started again; its last lines:\nkilled",
        ),
        (EventReason.ServiceRestarted, "the service db had ended with an unknown exit code and was started again"),
        (
            EventReason.ServiceNotReady,
            "the service cache accepts no connections on port 6379 (compose.healthTimeout, 1m in AgentPolicy a); "
            "the agent begins all the same",
        ),
        (
            EventReason.ServiceNotReady,
            "the service worker ended with exit code 1; no other one waits for it, so the agent begins all the same; "
            "its last lines:\noops",
        ),
        (
            EventReason.StackStopped,
            "no run has used the stack for 30m (compose.idleTTL, 30m by default); the next run starts it again, with "
            "its data",
        ),
    ]
