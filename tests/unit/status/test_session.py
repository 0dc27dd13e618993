"""A session's status: what each transition sets, keeps and clears."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from stromboli.models.agentsession import MAX_SERVICES, AgentSessionStatus, ServiceHealth, ServiceState
from stromboli.models.session import RunRef, ServiceEntry, SessionStatus
from stromboli.reasons import ReadyReason, SessionCondition
from stromboli.status import conditions
from stromboli.status import session as session_status
from tests.support.builders import moment

RUN = RunRef("first", "uid-1")
READY = {ReadyReason.Available: "True", ReadyReason.InUse: "True"}


def ready(status: SessionStatus) -> dict[str, Any]:
    return dict(conditions.find(status.wire["conditions"], SessionCondition.Ready) or {})


def lost(seconds: float = 0.0) -> SessionStatus:
    return session_status.at(
        session_status.taken(SessionStatus(), RUN, moment()), ReadyReason.VolumeLost, "it is gone", moment(seconds)
    )


@pytest.mark.parametrize("reason", ReadyReason)
def test_each_reason_is_told(reason: ReadyReason) -> None:
    status = session_status.at(SessionStatus(), reason, "so it is", moment(generation=4))
    assert ready(status) == {
        "type": "Ready",
        "status": READY.get(reason, "False"),
        "observedGeneration": 4,
        "lastTransitionTime": "2026-01-31T12:00:00Z",
        "reason": reason,
        "message": "so it is",
    }
    assert status.reason == reason
    assert (status.wire["node"], status.wire["observedGeneration"]) == ("node-1", 4)


@pytest.mark.parametrize("reason", ReadyReason)
def test_only_what_is_lost_is_stalled(reason: ReadyReason) -> None:
    status = session_status.at(SessionStatus(), reason, "so it is", moment())
    stalled = conditions.find(status.wire["conditions"], SessionCondition.Stalled)
    assert (stalled is not None) is (reason is ReadyReason.VolumeLost)
    assert stalled is None or (stalled["status"], stalled["reason"], stalled["message"]) == ("True", reason, "so it is")


def test_stalled_goes_with_its_cause() -> None:
    found = session_status.at(lost(), ReadyReason.Available, "there again", moment(9))
    assert [c["type"] for c in found.wire["conditions"]] == ["Ready"]


def test_before_the_first_there_is_no_reason() -> None:
    assert SessionStatus().reason == SessionStatus.of({"conditions": []}).reason == ""


def test_who_takes_it_has_it_and_that_is_a_use() -> None:
    status = session_status.taken(SessionStatus.of({"runs": 2}), RUN, moment(5))
    assert (ready(status)["reason"], ready(status)["message"]) == (ReadyReason.InUse, "the run first is using it")
    assert status.wire["currentRun"] == {"name": "first", "uid": "uid-1"}
    assert status.wire["lastUsed"] == "2026-01-31T12:00:05Z"
    assert status.wire["runs"] == 2


def test_who_leaves_it_leaves_no_trace_but_the_time() -> None:
    before = session_status.taken(SessionStatus.of({"runs": 2, "containerID": "c1"}), RUN, moment())
    status = session_status.released(before, moment(60))
    assert ready(status)["reason"] == ReadyReason.Available
    assert "currentRun" not in status.wire
    assert status.wire["lastUsed"] == "2026-01-31T12:01:00Z"
    assert (status.wire["runs"], status.wire["containerID"]) == (2, "c1")


def test_what_is_lost_stays_lost_when_the_run_leaves() -> None:
    before = lost()
    status = session_status.released(before, moment(60))
    assert status.wire["conditions"] == before.wire["conditions"]
    assert {c["type"] for c in status.wire["conditions"]} == {"Ready", "Stalled"}
    assert "currentRun" not in status.wire
    assert status.wire["lastUsed"] == "2026-01-31T12:01:00Z"


def test_a_time_is_that_of_the_change_from_ready_to_not() -> None:
    steps = [session_status.at(SessionStatus(), ReadyReason.Available, "no run is using it", moment())]
    steps.append(session_status.taken(steps[-1], RUN, moment(10)))
    steps.append(session_status.released(steps[-1], moment(20)))
    assert {ready(s)["lastTransitionTime"] for s in steps} == {"2026-01-31T12:00:00Z"}
    gone = session_status.at(steps[-1], ReadyReason.VolumeLost, "it is gone", moment(30))
    assert {c["lastTransitionTime"] for c in gone.wire["conditions"]} == {"2026-01-31T12:00:30Z"}
    again = session_status.at(gone, ReadyReason.VolumeLost, "it is still gone", moment(40))
    assert {c["lastTransitionTime"] for c in again.wire["conditions"]} == {"2026-01-31T12:00:30Z"}


def test_the_node_stays_what_it_was_first() -> None:
    status = session_status.at(SessionStatus(), ReadyReason.Available, "no run is using it", moment(node="node-a"))
    assert session_status.taken(status, RUN, moment(node="node-b")).wire["node"] == "node-a"


def test_saying_it_twice_changes_nothing() -> None:
    steps: tuple[Callable[[SessionStatus], SessionStatus], ...] = (
        lambda s: session_status.at(s, ReadyReason.Expired, "old", moment()),
        lambda s: session_status.taken(s, RUN, moment()),
        lambda s: session_status.released(s, moment()),
    )
    for step in steps:
        once = step(SessionStatus.of({"runs": 1}))
        assert step(once) == once


def test_what_was_given_is_not_changed() -> None:
    before = lost()
    kept = copy.deepcopy(before)
    session_status.taken(before, RUN, moment(3))
    session_status.released(before, moment(3))
    session_status.at(before, ReadyReason.Available, "x", moment(3))
    assert before == kept


def test_the_wire_takes_it() -> None:
    for status in (
        session_status.taken(SessionStatus(), RUN, moment()),
        lost(),
        session_status.released(lost(), moment()),
    ):
        AgentSessionStatus.model_validate(status.wire)


# --- the services of its stack ---

DB = ServiceEntry(
    name="db",
    image="docker.io/library/postgres:16",
    digest="sha256:1",
    state=ServiceState.running,
    health=ServiceHealth.healthy,
    ready=True,
    restarts=2,
    started=moment().now,
)
CACHE = ServiceEntry(name="cache", message="its check has not succeeded yet")


def test_services_are_written_as_the_schema_has_them_and_read_again() -> None:
    status = session_status.with_services(session_status.taken(SessionStatus(), RUN, moment()), [DB, CACHE])
    assert status.wire["services"] == [
        {
            "name": "db",
            "image": "docker.io/library/postgres:16",
            "digest": "sha256:1",
            "state": "Running",
            "health": "Healthy",
            "ready": True,
            "restarts": 2,
            "startedAt": "2026-01-31T12:00:00Z",
        },
        {
            "name": "cache",
            "state": "Pending",
            "health": "None",
            "ready": False,
            "restarts": 0,
            "message": "its check has not succeeded yet",
        },
    ]
    assert status.services == (DB, CACHE)
    AgentSessionStatus.model_validate(status.wire)
    assert session_status.released(status, moment(1)).services == (DB, CACHE)


def test_without_a_stack_there_are_no_services() -> None:
    status = session_status.with_services(SessionStatus(), [DB])
    assert session_status.with_services(status, []) == SessionStatus()


def test_a_services_message_is_bounded_and_shows_no_control_characters() -> None:
    status = session_status.with_services(SessionStatus(), [ServiceEntry(name="db", message="\x1b[2J" + "x" * 10_000)])
    found = status.services[0].message
    assert found.startswith("\\x1b[2J")
    assert len(found) == session_status.MAX_SERVICE_MESSAGE


@pytest.mark.parametrize(
    ("message", "image", "left_out"),
    [
        ("m", 60, ()),
        ("m" * 256, 60, ("message",)),
        ("", 200, ("message", "digest")),
        ("m", 1024, session_status._LEAST_FIRST),
    ],
)
def test_the_status_of_a_very_large_stack_fits_beside_any_spec(
    message: str, image: int, left_out: tuple[str, ...]
) -> None:
    many = [
        replace(DB, name=f"service-{n}", message=message, image="i" * image, digest="sha256:" + "0" * 64)
        for n in range(MAX_SERVICES)
    ]
    status = session_status.with_services(SessionStatus(), many)
    assert len(json.dumps(status.wire["services"])) <= session_status.MAX_SERVICES_SIZE
    assert [one.name for one in status.services] == [one.name for one in many]
    assert {"message", "digest", "image"} - set(status.wire["services"][0]) == set(left_out)


@pytest.mark.parametrize(
    "wire", [None, 5, [], ["db"], [{"name": 5, "state": "Dancing", "health": [], "ready": "yes", "restarts": "many"}]]
)
def test_anything_may_stand_where_services_should(wire: object) -> None:
    found = SessionStatus.of({"services": wire}).services
    assert all(one == ServiceEntry(name="") for one in found)
