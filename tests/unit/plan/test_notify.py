"""The notification of a run's end: what is sent, how it is signed, and when it is tried again."""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.grammar import times
from stromboli.models.run import Run
from stromboli.plan import notify
from stromboli.plan.notify import GIVE_UP, Attempted, Delivered, Failed
from stromboli.reasons import Reason
from stromboli.status import notification
from tests.support.builders import NOON, UID, Modifier, at, having, named, read

HOOK = {"url": "https://example.com/hook"}
DAY = 24 * 3600.0


def told(**fields: Any) -> Modifier:
    """What the status says of the notification."""
    return lambda obj: {**obj, "status": {**obj.get("status", {}), "notification": fields}}


def ended(*modifiers: Modifier, reason: Reason = Reason.Completed, message: str = "answered in 1 turn") -> Run:
    """A run that has ended at noon, and is to be reported."""
    return read(having(notify=HOOK), at(reason, message), *modifiers)


def seconds(run: Run, after: float = 0.0) -> float | None:
    """How long to wait, so many seconds after noon; None if nothing is to be reported."""
    if not run.awaits_notification:
        return None
    return notify.wait(run.status.notification, NOON + timedelta(seconds=after))


def later(after: float) -> str:
    return times.to_micro(NOON + timedelta(seconds=after))


# --- when ---


def test_nothing_is_due_without_a_receiver_or_before_the_end() -> None:
    assert seconds(read(at(Reason.Completed))) is None
    assert seconds(read(having(notify=HOOK))) is None
    assert seconds(read(having(notify=HOOK), at(Reason.Running))) is None
    assert seconds(read(having(notify="https://example.com"), at(Reason.Completed))) is None


@pytest.mark.parametrize("reason", [r for r in Reason if r.status != "Unknown"])
def test_the_first_attempt_is_due_at_each_end(reason: Reason) -> None:
    assert seconds(ended(reason=reason)) == 0.0


def test_the_next_one_is_due_at_its_time() -> None:
    run = ended(told(attempts=1, nextAttemptTime=later(30)))
    assert seconds(run, 10.0) == 20.0
    assert seconds(run, 30.0) == seconds(run, 3000.0) == 0.0


@pytest.mark.parametrize("over", [{"deliveryTime": later(1)}, {"attempts": 9}, {"attempts": 1, "nextAttemptTime": "?"}])
def test_what_was_delivered_or_given_up_is_over(over: dict[str, Any]) -> None:
    assert seconds(ended(told(**over))) is None
    assert seconds(ended(told(**over)), 2 * DAY) is None


def test_a_clock_that_was_set_back_delays_nothing() -> None:
    run = ended(told(attempts=3, nextAttemptTime=later(0)))
    assert seconds(run, -10 * DAY) == 0.0
    assert seconds(run, -notify.LONGEST) == notify.LONGEST, "as far away as it may be"


@given(st.integers(1, 100), st.text(st.characters(categories=["Ll"]), max_size=8))
def test_delays_double_up_to_an_hour_and_vary_by_a_fifth(number: int, uid: str) -> None:
    plain = min(10.0 * 2 ** (number - 1), 3600.0)
    assert plain <= notify.delay(uid, number) <= plain * 1.2


def test_delays_differ_between_runs_and_attempts() -> None:
    assert len({notify.delay(uid, 20) for uid in map(str, range(50))}) == 50
    assert len({notify.delay("a", number) for number in range(20, 70)}) == 50


def test_one_follows_a_failure_and_none_a_delivery() -> None:
    run = ended()
    assert notify.following(run, Failed("no"), NOON) == NOON + timedelta(seconds=notify.delay(UID, 1))
    assert notify.following(run, Delivered(200), NOON) is None
    assert notify.following(run, Failed("never", final=True), NOON) is None
    again = ended(told(attempts=4, nextAttemptTime=later(0)))
    assert notify.following(again, Failed("no"), NOON) == NOON + timedelta(seconds=notify.delay(UID, 5))


def test_the_last_attempt_is_a_day_after_the_end() -> None:
    run = ended(told(attempts=40, nextAttemptTime=later(DAY - 1)))
    assert notify.following(run, Failed("no"), NOON + GIVE_UP - timedelta(seconds=1)) == NOON + GIVE_UP
    assert notify.following(run, Failed("no"), NOON + GIVE_UP) is None


def test_an_operator_that_was_away_for_days_tries_once() -> None:
    run = ended(told(attempts=1, nextAttemptTime=later(60)))
    assert seconds(run, 3 * DAY) == 0.0
    assert notify.following(run, Failed("no"), NOON + timedelta(days=3)) is None


def test_a_run_of_which_nobody_knows_when_it_ended_is_reported_once() -> None:
    run = read(
        having(notify=HOOK),
        lambda obj: {**obj, "status": {"conditions": at(Reason.Completed)(obj)["status"]["conditions"]}},
    )
    assert seconds(run) == 0.0
    assert notify.following(run, Failed("no"), NOON) is None


@pytest.mark.parametrize("written", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-W05", "x", ""])
def test_whatever_a_status_says_of_its_times_does_no_harm(written: str) -> None:
    run = ended(
        told(attempts=1, nextAttemptTime=written),
        lambda obj: {**obj, "status": {**obj["status"], "completionTime": written}},
    )
    assert seconds(run) in (None, 0.0)
    assert (notify.following(run, Failed("no"), NOON) or NOON) < NOON + timedelta(minutes=1)


def test_a_receiver_that_is_away_for_the_whole_day() -> None:
    """As it goes in truth: about ten attempts in the first hour, then one an hour, and an end."""
    run, now, moments = ended(), 0.0, []
    while (left := seconds(run, now)) is not None:
        now += left
        moments.append(now)
        moment = NOON + timedelta(seconds=now)
        failed = Failed("connection refused")
        run = ended(told(**notification.after(run, failed, notify.following(run, failed, moment), moment)))
    assert moments[-1] == DAY
    assert len([moment for moment in moments if moment < 3600]) in (8, 9, 10)
    assert 25 < len(moments) < 40
    assert run.status.notification is not None
    assert run.status.notification.attempts == len(moments)
    assert run.status.notification.is_over


# --- what an answer means ---


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_a_delivery(status: int) -> None:
    assert notify.judged(status) == Delivered(status)


@pytest.mark.parametrize(
    "status", [100, 101, 199, 300, 301, 302, 304, 307, 308, 400, 401, 404, 410, 429, 500, 503, 999]
)
def test_nothing_else_is(status: int) -> None:
    assert notify.judged(status) == Failed(f"the receiver answers with status {status}", status)


# --- what the status says ---


@pytest.mark.parametrize(
    ("attempted", "following", "said"),
    [
        (Delivered(204), None, {"lastStatusCode": 204, "deliveryTime": later(0)}),
        (Failed("no", 500), NOON, {"lastStatusCode": 500, "lastError": "no", "nextAttemptTime": later(0)}),
        (Failed("a\x1bb"), None, {"lastError": "a\\x1bb"}),
        (Failed("x" * 5000), None, {"lastError": "x" * 1024}),
    ],
)
def test_what_an_attempt_leaves(attempted: Attempted, following: Any, said: dict[str, Any]) -> None:
    first = notification.after(ended(), attempted, following, NOON)
    assert first == {"attempts": 1, "lastAttemptTime": later(0), **said}
    again = notification.after(ended(told(attempts=6, nextAttemptTime=later(0))), attempted, following, NOON)
    assert again == {**first, "attempts": 7}


# --- what is sent ---


def test_the_body_has_what_stromboli_sends() -> None:
    def answered(obj: dict[str, Any]) -> dict[str, Any]:
        return {**obj, "status": {**obj["status"], "result": {"text": 'hi ✓ "you"\n\0\ud800'}}}

    run = ended(named("run-1"), having(session={"name": "s-1"}, notify=HOOK), answered)
    assert json.loads(notify.body(run)) == {
        "job_id": "run-1",
        "status": "completed",
        "output": 'hi ✓ "you"\n\0?',
        "error": "",
        "session_id": "s-1",
    }
    failed = ended(reason=Reason.ContainerLost, message="the container is gone")
    assert json.loads(notify.body(failed)) == {
        "job_id": "a",
        "status": "crashed",
        "output": "",
        "error": "the container is gone",
        "session_id": "",
    }


def test_the_body_is_the_same_in_each_attempt_and_bounded() -> None:
    def long(obj: dict[str, Any]) -> dict[str, Any]:
        return {**obj, "status": {**obj["status"], "result": {"text": "\x01" * 32768}}}

    run, again = ended(long), ended(long, told(attempts=3, nextAttemptTime=later(0)))
    assert notify.body(run) == notify.body(again)
    assert len(notify.body(run)) < 256 * 1024


def test_the_headers_of_an_attempt() -> None:
    made = notify.headers(ended(), b"{}", None, NOON)
    timestamp = str(int(NOON.timestamp()))
    assert made == {
        "Content-Type": "application/json",
        "User-Agent": "stromboli",
        "X-Stromboli-Timestamp": timestamp,
        "X-Stromboli-Delivery": UID,
    }
    signed = notify.headers(ended(), b"{}", b"key", NOON)
    expected = hmac.new(b"key", f"{timestamp}.{{}}".encode(), hashlib.sha256).hexdigest()
    assert signed == {**made, "X-Stromboli-Signature": f"sha256={expected}"}


def test_each_attempt_is_signed_anew_and_has_the_same_identifier() -> None:
    first, second = (notify.headers(ended(), b"{}", b"key", NOON + timedelta(seconds=s)) for s in (0, 600))
    assert first["X-Stromboli-Delivery"] == second["X-Stromboli-Delivery"]
    assert int(second["X-Stromboli-Timestamp"]) - int(first["X-Stromboli-Timestamp"]) == 600
    assert first["X-Stromboli-Signature"] != second["X-Stromboli-Signature"]


@pytest.mark.parametrize("key", [b"s3cret", b"\x00\xff with bytes\n", b"k" * 200])
def test_openssl_computes_the_same_signature(key: bytes) -> None:
    content = notify.body(ended())
    command = ["openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{key.hex()}"]
    said = subprocess.run(command, input=b"1735726800." + content, capture_output=True, check=True).stdout
    assert said.split()[-1].decode() == notify.signature(key, "1735726800", content)
