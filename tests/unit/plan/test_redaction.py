"""What a hook or an agent printed of its secrets stands in no status."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.models.reasons import Reason
from stromboli.plan import answer, redaction
from stromboli.plan.attempt import StepRecord
from stromboli.plan.outcome import Outcome
from tests.support.builders import records, result_event

KEY = "sk-ant-0123456789"
FILE = json.dumps({"claudeAiOauth": {"accessToken": "token-abcdef", "scopes": ["user:inference"], "expiresAt": 17}})


def test_the_values_are_the_variables_and_the_strings_of_the_file() -> None:
    found = redaction.values({"ANTHROPIC_API_KEY": KEY.encode(), "SHORT": b"short"}, FILE.encode())
    assert set(found) == {KEY, "token-abcdef", "user:inference"}


def test_a_file_that_is_no_json_is_a_secret_whole() -> None:
    assert redaction.values({}, b"not a json file") == ("not a json file",)


def test_of_two_that_begin_alike_none_leaves_a_rest() -> None:
    secrets = redaction.values({"A": b"password", "B": b"password-and-more"}, None)
    assert redaction.text("password-and-more password", secrets) == "*** ***"


def test_tails_messages_and_answers_are_without_them() -> None:
    step = StepRecord("postStart", 0, "Succeeded", 0, None, None, f"key={KEY}\n")
    clean = redaction.records(records(steps=(step,), stderr_tail=f"x {KEY}"), (KEY,))
    assert (clean.steps[0].tail, clean.stderr_tail) == ("key=***\n", "x ***")
    told = answer.parse(result_event(result=f"it is {KEY}", structured_output={KEY: [KEY, 1, {"a": KEY}]}))
    ended = redaction.outcome(Outcome(Reason.AgentFailed, f"says {KEY}", told, 1), (KEY,))
    assert ended.message == "says ***"
    assert ended.answer is not None
    assert ended.answer.text == "it is ***"
    assert ended.answer.structured == {"***": ["***", 1, {"a": "***"}]}


def test_an_outcome_without_an_answer_stays_without() -> None:
    assert redaction.outcome(Outcome(Reason.TimedOut, "m", None, None), (KEY,)).answer is None


@pytest.mark.parametrize("said", ["", "nothing", "sk-ant-012345678"])
def test_what_is_no_secret_stays(said: str) -> None:
    assert redaction.text(said, (KEY,)) == said


@given(st.lists(st.text("ab*", min_size=8, max_size=12), max_size=4), st.text("ab* ", max_size=40))
def test_no_value_is_found_afterwards(secrets: list[str], said: str) -> None:
    values = redaction.values({str(n): secret.encode() for n, secret in enumerate(secrets)}, None)
    clean = redaction.text(said, values)
    for value in values:
        if "*" not in value:  # a mask beside a star may look like one
            assert value not in clean
