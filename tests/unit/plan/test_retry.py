"""Whether another attempt follows one that has failed, and when it begins."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from stromboli.models.agentrun import PromptSent, RetryReason
from stromboli.models.run import Run
from stromboli.plan import follow, retry
from stromboli.plan.outcome import Outcome
from stromboli.plan.retry import Again
from stromboli.reasons import Reason
from tests.support.builders import NOON, UID, having, of_uid, read

NOW = NOON + timedelta(minutes=5)


def run(number: int = 1, uid: str = UID, **spec: Any) -> Run:
    """A run whose attempt `number` has just ended."""
    attempts = [{"number": each, "container": "agent"} for each in range(1, number + 1)]
    return read(of_uid(uid), having(**spec), lambda obj: {**obj, "status": {"attempts": attempts}})


def ended(reason: Reason = Reason.AgentFailed, **fields: Any) -> Outcome:
    whole: dict[str, Any] = {"answer": None, "exit_code": 1, "prompt_sent": PromptSent.yes}
    return Outcome(reason, "so it ended", **(whole | fields))


def begins(again: Again | None) -> float:
    """Seconds until the next attempt."""
    assert again is not None
    return (again.at - NOW).total_seconds()


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason.status == "False"])
def test_only_the_reasons_that_the_spec_names(reason: Reason) -> None:
    named = [str(each) for each in RetryReason]
    assert retry.decide(run(), ended(reason), NOW) is None, "by itself nothing follows"
    others = [each for each in named if each != reason]
    assert retry.decide(run(retryOn=others), ended(reason), NOW) is None
    assert (retry.decide(run(retryOn=named), ended(reason), NOW) is not None) == (reason in named)


def test_a_canceled_run_has_no_further_attempt() -> None:
    named = ["AgentFailed"]
    assert retry.decide(run(retryOn=named), ended(), NOW) is not None
    assert retry.decide(run(retryOn=named, cancel=True), ended(), NOW) is None


@pytest.mark.parametrize(("limit", "most"), [(None, 5), (0, 1), (3, 4), (50, 51)])
def test_the_limit_counts_all_attempts_after_the_first(limit: int | None, most: int) -> None:
    for number in range(1, most + 3):
        again = retry.decide(run(number, retryOn=["AgentFailed"], backoffLimit=limit), ended(), NOW)
        assert (again is not None) == (number < most), number
    assert follow.most(run(backoffLimit=limit)) == most, "also of those that sent nothing"


def test_the_delay_doubles_from_ten_seconds_to_six_minutes() -> None:
    for number, base in enumerate([10, 20, 40, 80, 160, 320, 360, 360], 1):
        found = begins(retry.decide(run(number, retryOn=["AgentFailed"], backoffLimit=50), ended(), NOW))
        assert base <= found <= base * 1.2, number
    assert retry.delay(UID, 10**6) <= 432, "no number is too large"


def test_runs_that_failed_together_are_not_tried_again_together() -> None:
    found = [retry.delay(f"{UID[:-3]}{number:03}", 1) for number in range(200)]
    assert 10 <= min(found) < 10.2
    assert 11.8 < max(found) <= 12
    assert len(set(found)) == 200
    assert retry.delay(UID, 1) == retry.delay(UID, 1), "an operator that begins anew finds the same"


def test_a_limit_of_the_api_is_waited_for() -> None:
    limited = run(retryOn=["RateLimited"])
    until = NOW + timedelta(hours=2)
    again = retry.decide(limited, ended(Reason.RateLimited, retry_at=until), NOW)
    assert again is not None
    assert again.at == until
    assert "(in 2h), when the API's limit ends" in again.message


def test_a_limit_that_is_over_sooner_or_unknown_has_the_usual_delay() -> None:
    limited = run(retryOn=["RateLimited"])
    for until in (None, NOW + timedelta(seconds=1), NOW - timedelta(hours=1)):
        again = retry.decide(limited, ended(Reason.RateLimited, retry_at=until), NOW)
        assert 10 <= begins(again) <= 12
        assert again is not None
        assert "limit ends" not in again.message


def test_the_message_says_what_happened_and_when_it_goes_on() -> None:
    again = retry.decide(run(2, retryOn=["AgentFailed"], backoffLimit=2), ended(), NOW)
    assert again is not None
    assert again.message.startswith(
        "attempt 2 of at most 3 ended with AgentFailed: so it ended; the next one begins at "
    )
