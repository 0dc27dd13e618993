"""Transcripts of the CLI, true and lying ones, each with the verdict on it: tests/support/transcripts/."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from stromboli.grammar import times
from stromboli.models.run import RunStatus
from stromboli.observe.attempts import Trace
from stromboli.observe.schemas import Schemas
from stromboli.perform.judge import Judge
from stromboli.plan.follow import Finish, Phase, Seen
from stromboli.plan.outcome import Outcome
from stromboli.reasons import Reason
from stromboli.status import run as run_status
from tests.support.builders import NOON, NOTHING_SECRET, end, having, read, records

FOLDER = Path(__file__).parents[2] / "support" / "transcripts"
NAMES = sorted(path.stem for path in FOLDER.glob("*.jsonl"))


async def _judged(name: str, expected: dict[str, Any], length: int | None = None) -> Outcome:
    """By the real judge, with a real process for a schema; nothing else is asked for a run with a whole spec."""
    code = expected["exitCode"]
    ended = end(cause="completed" if code == 0 else "failed", exit_code=code, at=NOON)
    left = records(stdout=(FOLDER / f"{name}.jsonl").read_bytes()[:length], end=ended)
    seen = Seen(Phase.exited, started=True, sent=True, ended=True, same_boot=True, exit_code=0)
    judge = Judge(cast(Any, None), Schemas(), cast(Any, None))
    run = read(having(**expected.get("spec", {})))
    return await judge.ended(run, Trace(seen, None, left, NOTHING_SECRET), Finish(600.0, 5.0, NOON))


def _expected(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.verdict.json").read_text())
    return found


@pytest.mark.parametrize("name", NAMES)
async def test_a_transcript_is_judged(name: str) -> None:
    expected = _expected(name)
    verdict = expected["verdict"]
    found = await _judged(name, expected)
    assert found.reason == verdict["reason"], found.message
    assert verdict["message"] in found.message
    assert (None if found.retry_at is None else times.to_text(found.retry_at)) == verdict.get("retryAt")
    status = run_status.with_outcome(RunStatus(), found, []).wire
    for part in ("usage", "result"):
        if part in verdict:
            assert status[part] == verdict[part]


def test_the_corpus_is_large_enough_and_its_names_are_true() -> None:
    assert len(NAMES) >= 40
    for name in NAMES:
        assert (_expected(name)["verdict"]["reason"] == Reason.Completed) is name.startswith("true-"), name


WITH_RESULT_LAST = [name for name in NAMES if name.startswith("true-") and name != "true-events-afterwards"]


@pytest.mark.parametrize("name", WITH_RESULT_LAST)
async def test_no_transcript_that_is_cut_is_a_success(name: str) -> None:
    """Wherever a true transcript ends before the end of its result, even with an exit code of 0."""
    whole = (FOLDER / f"{name}.jsonl").read_bytes().rstrip(b"\n")
    last = whole.rfind(b"\n") + 1
    for length in (last, last + 1, *range(last + 2, len(whole) - 1, 97), len(whole) - 1):
        found = await _judged(name, _expected(name), length)
        assert found.reason is not Reason.Completed, length
