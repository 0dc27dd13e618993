"""The notification of a run's end: what is sent, how it is signed, and when it is tried again. Pure.

Where it may go: receivers.py. What carries it out: perform/notifications/. What its status looks like:
status/notification.py.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from stromboli.models.run import NotificationEntry, Run
from stromboli.plan import answered

GIVE_UP = timedelta(days=1)  # after the run's end
# A last attempt begins no later than that; until it is over, the run is not deleted by the operator.
KEPT = GIVE_UP.total_seconds() + 60.0
FIRST, LONGEST = 10.0, 3600.0  # seconds
JITTER = 0.2  # of the delay, at most, so that a receiver that was away is not called by all at once
TIMESTAMP = "X-Stromboli-Timestamp"
SIGNATURE = "X-Stromboli-Signature"
DELIVERY = "X-Stromboli-Delivery"


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver has accepted it."""

    status: int


@dataclass(frozen=True, slots=True)
class Failed:
    """It was not accepted, if there was an answer at all. `error` has nothing of the URL but scheme and host, and
    nothing of the answer but its status. After a `final` failure, nothing is tried again.
    """

    error: str
    status: int | None = None
    final: bool = False


Attempted = Delivered | Failed


def wait(told: NotificationEntry | None, now: datetime) -> float:
    """Seconds until the next attempt, for a notification that is not over. The wall clock may have been set in between:
    a time that is further away than any delay is one that has passed.
    """
    left = 0.0 if told is None or told.next is None else (told.next - now).total_seconds()
    return left if 0.0 < left <= LONGEST * (1 + JITTER) else 0.0


def following(run: Run, attempted: Attempted, now: datetime) -> datetime | None:
    """When an attempt follows one that has ended now; None if none does. The last one is a day after the run's end."""
    if isinstance(attempted, Delivered) or attempted.final or run.status.completed is None:
        return None
    left = GIVE_UP - (now - run.status.completed)
    if left <= timedelta(0):
        return None
    told = run.status.notification
    return now + min(timedelta(seconds=delay(run.uid, told.attempts + 1 if told else 1)), left)


def delay(uid: str, number: int) -> float:
    """Seconds from the end of attempt `number` to the next one. The jitter depends on the run and the number only."""
    chance = int.from_bytes(hashlib.sha256(f"{uid}/notification/{number}".encode()).digest()[:4], "big") / 2**32
    return float(min(FIRST * 2.0 ** min(max(number - 1, 0), 16), LONGEST) * (1 + JITTER * chance))


def judged(status: int) -> Attempted:
    """What a receiver's status code means. A redirection is no acceptance."""
    if 200 <= status < 300:
        return Delivered(status)
    return Failed(f"the receiver answers with status {status}", status)


def body(run: Run) -> bytes:
    """What is sent: the same bytes in each attempt, since a run that has ended does not change."""
    said = {
        "job_id": run.name,
        "status": str(answered.job_status(run)),
        "output": answered.output(run),
        "error": answered.error_text(run),
        "session_id": answered.session_id(run),
    }
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def headers(run: Run, content: bytes, key: bytes | None, now: datetime) -> dict[str, str]:
    """The headers of an attempt. Receivers refuse a timestamp that is minutes old, so each attempt has its own, and
    with it its own signature. What stays the same is the delivery's identifier.
    """
    timestamp = str(int(now.timestamp()))
    made = {"Content-Type": "application/json", "User-Agent": "stromboli", TIMESTAMP: timestamp, DELIVERY: run.uid}
    if key is not None:
        made[SIGNATURE] = f"sha256={signature(key, timestamp, content)}"
    return made


def signature(key: bytes, timestamp: str, content: bytes) -> str:
    """The signature of a request, in hexadecimal."""
    return hmac.new(key, timestamp.encode() + b"." + content, hashlib.sha256).hexdigest()
