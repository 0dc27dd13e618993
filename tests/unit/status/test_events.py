"""Kubernetes events, and timestamps in the API's formats."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli import naming
from stromboli.grammar import times
from stromboli.status.events import event
from tests.support.builders import NOON, UID, named, read


def test_an_event() -> None:
    assert event(read(named("b")), "Started", "it began", now=NOON, key=UID) == {
        "metadata": {"name": naming.event(UID, "Started"), "namespace": "team"},
        "involvedObject": {
            "apiVersion": "stromboli.dev/v1alpha1",
            "kind": "AgentRun",
            "name": "b",
            "namespace": "team",
            "uid": UID,
        },
        "reason": "Started",
        "message": "it began",
        "type": "Normal",
        "source": {"component": "stromboli-operator"},
        "firstTimestamp": "2026-01-31T12:00:00Z",
        "lastTimestamp": "2026-01-31T12:00:00Z",
        "count": 1,
    }


def test_a_warning() -> None:
    assert event(read(), "TimedOut", "m", now=NOON, key=UID, warning=True)["type"] == "Warning"


def test_told_twice_it_is_one_object() -> None:
    first = event(read(), "Started", "a", now=NOON, key="k")
    again = event(read(), "Started", "b", now=NOON + timedelta(hours=1), key="k")
    assert first["metadata"] == again["metadata"]
    names = {event(read(), r, "m", now=NOON, key=k)["metadata"]["name"] for r in ("A", "B") for k in ("x", "y")}
    assert len(names) == 4


@pytest.mark.parametrize("message", ["x" * 5000, "é" * 5000, "a\0b"])
def test_a_message_is_short_and_clean(message: str) -> None:
    said = event(read(), "A", message, now=NOON, key="k")["message"]
    assert len(said) <= 1024
    assert "\0" not in said


def test_times_are_utc_whatever_the_zone() -> None:
    moment = datetime(2026, 1, 31, 23, 30, 5, 123456, tzinfo=timezone(timedelta(hours=-2)))
    assert times.to_text(moment) == "2026-02-01T01:30:05Z"
    assert times.to_micro(moment) == "2026-02-01T01:30:05.123456Z"


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9998, 1, 1), timezones=st.just(UTC)))
def test_times_come_back(moment: datetime) -> None:
    assert times.from_text(times.to_micro(moment)) == moment
    assert times.from_text(times.to_text(moment)) == moment.replace(microsecond=0)


@pytest.mark.parametrize("text", ["", "now", "2026-13-01T00:00:00Z", "2026-01-31T12:00:00Q"])
def test_no_time(text: str) -> None:
    with pytest.raises(ValueError):
        times.from_text(text)
