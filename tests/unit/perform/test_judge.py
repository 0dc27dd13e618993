"""The judge: what it asks for beside the records, and what it must not show."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest

from stromboli.models.run import Run
from stromboli.observe.attempts import Trace
from stromboli.observe.schemas import Schemas
from stromboli.perform.judge import Judge
from stromboli.plan.follow import Finish, Phase, Seen
from stromboli.plan.outcome import Outcome
from stromboli.plan.redaction import UNKNOWN, Secrets
from stromboli.reasons import Reason
from stromboli.status.run import with_attempt
from tests.support.builders import NOON, NOTHING_SECRET, having, named, of_uid, read, records, result_event

SCHEMA: Any = {"type": "object", "additionalProperties": {"type": "integer"}}


class Runs:
    """A cluster that has one run, and counts how often it is read."""

    def __init__(self, run: Run | None) -> None:
        self.run = run
        self.reads = 0

    @asynccontextmanager
    async def whole_run(self, namespace: str, name: str) -> AsyncIterator[Run | None]:
        self.reads += 1
        yield self.run


async def judged(run: Run, answer: Any, secrets: Secrets = NOTHING_SECRET, cluster: Runs | None = None) -> Outcome:
    left = records(stdout=result_event(structured_output=answer))
    seen = Seen(Phase.exited, started=True, sent=True, ended=True, same_boot=True, exit_code=0)
    judge = Judge(cast(Any, cluster), Schemas(), cast(Any, None))
    return await judge.ended(run, Trace(seen, None, left, secrets), Finish(600.0, 5.0, NOON))


async def test_a_violation_is_told_without_secrets_and_control_characters() -> None:
    run = read(having(claude={"jsonSchema": SCHEMA}))
    found = await judged(run, {"a-secret-key\x1b": "x"}, Secrets(["a-secret-key"]))
    assert found.reason is Reason.AgentFailed
    assert "a-secret-key" not in found.message
    assert "\x1b" not in found.message
    assert "violates type" in found.message
    assert found.answer is not None, "what was said stays in the status"


async def test_of_an_answer_that_is_withheld_nothing_is_told() -> None:
    run = read(having(claude={"jsonSchema": SCHEMA}))
    found = await judged(run, {"the-key-of-it": "x"}, UNKNOWN)
    assert found.reason is Reason.AgentFailed
    assert "the-key-of-it" not in found.message
    assert "the node has restarted since the attempt began" in found.message
    assert found.withheld


async def test_what_is_stored_may_be_shorter_than_what_is_judged() -> None:
    """An answer too large for the status is valid or not all the same."""
    run = read(having(claude={"jsonSchema": SCHEMA}))
    large = {f"k{n:06d}": n for n in range(30_000)}
    found = await judged(run, large)
    assert found.reason is Reason.Completed, found.message
    assert found.left_out == ("the structured answer is larger than 262144 bytes",)
    assert (await judged(run, {**large, "last": "x"})).reason is Reason.AgentFailed


@pytest.mark.parametrize("value", [json.loads("[" * 100 + "]" * 100), [0] * 100_001], ids=["too-deep", "too-many"])
async def test_what_cannot_be_judged_is_not_valid(value: Any) -> None:
    found = await judged(read(having(claude={"jsonSchema": {"type": "object"}})), {"a": value})
    assert found.reason is Reason.AgentFailed
    assert found.message.endswith("to be checked")


async def test_the_schema_of_a_large_run_is_read_again() -> None:
    """A run that is kept as an outline has no prompt, and no schema."""
    outline = read(having(prompt=None))
    for whole, reason in (
        (read(having(claude={"jsonSchema": SCHEMA})), Reason.AgentFailed),
        (read(), Reason.Completed),
        (read(of_uid("another"), having(claude={"jsonSchema": SCHEMA})), Reason.Completed),
        (None, Reason.Completed),
    ):
        cluster = Runs(whole)
        assert (await judged(outline, {"a": "x"}, cluster=cluster)).reason is reason
        assert cluster.reads == 1


async def test_a_small_run_is_not_read_again() -> None:
    text = json.dumps(SCHEMA)
    assert (await judged(read(named("b"), having(claude={"jsonSchema": text})), {"a": 1})).reason is Reason.Completed


async def test_the_cost_of_a_second_attempt_is_its_own() -> None:
    """It may have resumed the conversation of the first one, and then the CLI reports the sum."""
    used = {"a": {"costUSD": 0.25}}
    event = result_event(total_cost_usd=1.0, model_usage_since_last_result=used)
    seen = Seen(Phase.exited, started=True, sent=True, ended=True, same_boot=True, exit_code=0)
    trace = Trace(seen, None, records(stdout=event), NOTHING_SECRET)
    judge = Judge(cast(Any, None), Schemas(), cast(Any, None))
    for attempts, cost in ((1, 1.0), (2, 0.25)):
        run = read()
        for number in range(attempts):
            run = replace(run, status=with_attempt(run.status, {"number": number + 1}))
        found = await judge.ended(run, trace, Finish(600.0, 5.0, NOON))
        assert found.answer is not None
        assert found.answer.cost_usd == cost
