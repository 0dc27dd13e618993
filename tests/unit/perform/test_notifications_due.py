"""Which ends of runs are still to be reported, by whom."""

from __future__ import annotations

from typing import Any

import pytest

from stromboli.perform.notifications.due import AllDue, Due
from stromboli.reasons import Reason
from tests.support.builders import UID, Modifier, at, having, read

HOOK = {"url": "https://example.com:8443/hook?token=s3cret"}
ENDED = at(Reason.Completed)


def told(**fields: Any) -> Modifier:
    return lambda obj: {**obj, "status": {**obj["status"], "notification": fields}}


def on(node: str) -> Modifier:
    return lambda obj: {**obj, "status": {**obj["status"], "node": node}}


def deleted(obj: dict[str, Any]) -> dict[str, Any]:
    return {**obj, "metadata": {**obj["metadata"], "deletionTimestamp": "2026-01-31T12:00:00Z"}}


@pytest.fixture
def woken() -> list[str]:
    return []


@pytest.fixture
def due(woken: list[str]) -> AllDue:
    return AllDue("node-1", woken.append)


def test_one_that_has_ended_is_due_until_it_is_over(due: AllDue, woken: list[str]) -> None:
    due.ended(read(having(notify=HOOK), ENDED))
    assert due.get(UID) == Due("team", "a", "https://example.com:8443", None)
    due.ended(read(having(notify=HOOK), ENDED))
    assert woken == [UID], "the same again is no news"
    due.ended(read(having(notify=HOOK), ENDED, told(attempts=1, nextAttemptTime="2026-01-31T12:00:10Z")))
    assert woken == [UID, UID]
    due.ended(read(having(notify=HOOK), ENDED, told(attempts=2, deliveryTime="2026-01-31T12:00:10Z")))
    assert due.get(UID) is None
    assert woken == [UID, UID, UID], "whoever waits for the next attempt need not"


@pytest.mark.parametrize(
    "modifiers",
    [
        (ENDED,),
        (having(notify=HOOK), at(Reason.Running)),
        (having(notify=HOOK), ENDED, on("node-2")),
        (having(notify=HOOK), ENDED, on("")),
        (having(notify=HOOK), ENDED, deleted),
        (having(notify=HOOK), ENDED, told(attempts=9)),
        (having(notify={}), ENDED),
        (having(notify="https://example.com"), ENDED),
    ],
)
def test_others_are_not(due: AllDue, woken: list[str], modifiers: tuple[Modifier, ...]) -> None:
    due.ended(read(*modifiers))
    assert (due.get(UID), len(due), woken) == (None, 0, [])


def test_a_run_that_is_deleted_is_not_due_any_more(due: AllDue, woken: list[str]) -> None:
    due.ended(read(having(notify=HOOK), ENDED))
    due.gone(UID)
    due.gone(UID)
    assert (len(due), woken) == (0, [UID, UID])


def test_what_cannot_be_written_is_remembered_until_it_is(due: AllDue) -> None:
    run = read(having(notify=HOOK), ENDED)
    due.ended(run)
    due.remember(run, {"attempts": 1, "nextAttemptTime": "2026-01-31T12:00:10Z"})
    due.ended(run)
    found = due.get(UID)
    assert found is not None
    assert found.told is not None
    assert (found.told.attempts, due.known(run).status.notification) == (1, found.told)
    due.remember(run, {"attempts": 2, "deliveryTime": "2026-01-31T12:00:10Z"})
    due.ended(run)
    assert due.get(UID) is None
    due.wrote(UID)
    due.ended(run)
    assert due.get(UID) is not None
    due.remember(run, {"attempts": 9})
    due.gone(UID)
    assert due.known(run) is run


@pytest.mark.parametrize("url", [5, None, "", "http://127.1", "x"])
def test_a_url_that_is_none_has_no_receiver(due: AllDue, url: object) -> None:
    due.ended(read(having(notify={"url": url, "secretKeyRef": None}), ENDED))
    assert due.get(UID) == Due("team", "a", "", None)
