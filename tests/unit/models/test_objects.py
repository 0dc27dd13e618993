"""Objects as they are read: whatever somebody has written into a spec or a status, reading it raises nothing."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.kube import objects
from stromboli.models.agentrun import AgentRunStatus, Attempt, RunSession, SessionChoice
from stromboli.models.agentsession import AgentSessionSpec, AgentSessionStatus
from stromboli.models.conditions import Condition
from stromboli.models.fields import MAX_TIMEOUT
from stromboli.models.objects import Resource
from stromboli.models.run import AttemptEntry, RunStatus, SessionEntry
from stromboli.models.session import RunRef, SessionStatus
from stromboli.reasons import Reason
from tests.support.builders import UID, at, having, read, run

ATTEMPT = {"number": 2, "container": "c", "bootID": "b", "timeout": "90s", "startedAt": "2026-01-31T12:00:00.000000Z"}
KINDS = (AgentRunStatus, AgentSessionSpec, AgentSessionStatus, Attempt, Condition, RunSession, SessionChoice)
FIELDS = sorted({str(field.alias) for kind in KINDS for field in kind.model_fields.values()})
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("2026-01-31T12:00:00Z"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6),
    max_leaves=12,
)


def test_a_run() -> None:
    found = read(having(session={"name": "s", "fork": "p"}), at(Reason.Queued, "behind others"))
    assert (found.uid, found.namespace, found.name, found.version, found.generation) == (UID, "team", "a", "1", 1)
    assert (found.created, found.deleted, found.is_being_deleted) == ("2026-01-31T12:00:00Z", None, False)
    assert (found.session, found.fork, found.sessions, found.is_kept) == ("s", "p", ("s", "p"), True)
    assert (found.status.reason, found.status.message, found.status.is_finished) == ("Queued", "behind others", False)
    assert found.is_whole
    assert found.session_uid == UID


def test_a_run_with_its_own_session() -> None:
    assert (read().session, read().sessions, read().is_kept) == ("", (), False)


def test_a_runs_session() -> None:
    status = RunStatus.of({"session": {"name": "s", "uid": "u", "ticket": "7"}})
    assert status.session == SessionEntry("s", "u", "7")
    assert dataclasses.replace(read(), status=status).session_uid == "u"


def test_an_attempt() -> None:
    started = datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert RunStatus.of({"attempts": [ATTEMPT]}).attempts == (AttemptEntry(2, "c", "b", 90.0, started),)


@pytest.mark.parametrize("timeout", ["", "soon", "-1s", 5, None])
def test_an_attempt_whose_timeout_cannot_be_read_has_the_longest(timeout: object) -> None:
    [attempt] = RunStatus.of({"attempts": [ATTEMPT | {"timeout": timeout}]}).attempts
    assert attempt.timeout == MAX_TIMEOUT


@pytest.mark.parametrize(
    ("started", "read"), [("2026-01-31T12:00:00", True), ("now", False), (5, False), (None, False)]
)
def test_a_time_without_a_zone_is_in_utc_and_what_is_none_is_none(started: object, read: bool) -> None:
    [attempt] = RunStatus.of({"attempts": [ATTEMPT | {"startedAt": started}]}).attempts
    assert attempt.started == (datetime(2026, 1, 31, 12, tzinfo=UTC) if read else None)


@pytest.mark.parametrize(
    ("reason", "node", "attempts", "stands"),
    [
        ("Queued", "n", [], True),
        ("Queued", "", [], False),
        ("Running", "n", [], False),
        ("Queued", "n", [ATTEMPT], False),
        ("Queued", "n", [ATTEMPT | {"reason": "AgentFailed"}], True),
        ("Retrying", "n", [ATTEMPT | {"reason": "AgentFailed"}], False),
    ],
)
def test_who_stands_in_the_line_of_its_node(reason: str, node: str, attempts: list[Any], stands: bool) -> None:
    succeeded = {"type": "Succeeded", "status": "Unknown", "reason": reason}
    assert RunStatus.of({"conditions": [succeeded], "node": node, "attempts": attempts}).is_in_line is stands


def test_a_session() -> None:
    parent = {"name": "p", "uid": UID}
    wire = {
        "metadata": {"name": "s", "namespace": "team", "uid": UID, "resourceVersion": "3"},
        "spec": {"forkedFrom": parent, "ttlAfterLastUse": "1h"},
        "status": {"currentRun": {"name": "r", "uid": "u"}, "forkedFrom": {**parent, "claudeSessionID": "c"}},
    }
    found = objects.session(wire)
    assert (found.parent, found.ttl, found.label) == ("p", "1h", "team/s")
    assert found.status.current_run == RunRef("r", "u")
    assert found.status.is_held_by("u")
    assert not found.status.is_held_by("other")
    assert found.status.copied_from is not None
    assert found.status.copied_from.conversation == "c"
    assert (found.status.size, found.status.last_used, found.status.has_conditions) == (None, None, False)


@given(spec=ANYTHING, status=ANYTHING)
def test_whatever_was_written_is_read(spec: object, status: object) -> None:
    wire = {"metadata": run()["metadata"], "spec": spec, "status": status}
    made: list[Resource] = [objects.run(wire), objects.session(wire), objects.policy(wire)]
    for found in made:
        assert found.uid == UID
        assert found.status.wire == (status if isinstance(status, dict) else {}) or status != status


@given(ANYTHING)
def test_of_the_fields_each_is_of_its_type(value: Any) -> None:
    wire = dict.fromkeys(FIELDS, value)
    runs, sessions = RunStatus.of(wire), SessionStatus.of(wire)
    for status in (runs, sessions):
        for field in dataclasses.fields(status):
            found = getattr(status, field.name)
            if field.type == "str":
                assert isinstance(found, str)
    assert all(isinstance(attempt.number, int) for attempt in runs.attempts)
