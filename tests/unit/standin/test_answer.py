"""What the stand-in says to what."""

from __future__ import annotations

from typing import Any

import pytest

from stromboli.standin.answer import STRUCTURED_OUTPUT, Refuse, Say, UseTool, decide
from stromboli.standin.request import Request, Tool

_SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def asked(*texts: str, schema: dict[str, Any] | None = None, **more: Any) -> Request:
    fields: dict[str, Any] = {
        "model": "claude-test-1",
        "stream": True,
        "messages": len(texts),
        "user_texts": texts,
        "tool_result": None,
        "system": "",
        "tools": () if schema is None else (Tool(STRUCTURED_OUTPUT, schema),),
        "effort": None,
    }
    return Request(**{**fields, **more})


def test_the_default_answer_says_that_no_model_speaks() -> None:
    answer, delay = decide(asked("first", "second"))
    assert isinstance(answer, Say)
    assert answer.text is not None
    assert "offline stand-in" in answer.text
    assert "not from a model" in answer.text
    assert "Prompts so far in this conversation: 2. The last one was: second" in answer.text
    assert delay == 0


def test_a_long_prompt_is_not_repeated_whole() -> None:
    answer, _ = decide(asked("x" * 100_000))
    assert isinstance(answer, Say)
    assert answer.text is not None
    assert len(answer.text) < 500


def test_a_command_is_run_once_and_its_output_passed_on() -> None:
    assert decide(asked("BASH{date}"))[0] == UseTool(
        "Bash", {"command": "date", "description": "asked for by the prompt"}
    )
    answer, _ = decide(asked("BASH{date}", tool_result="Wednesday"))
    assert answer == Say("The offline stand-in passes on what the tool said: Wednesday")


def test_a_loop_never_ends() -> None:
    for result in (None, "Wednesday"):
        answer, _ = decide(asked("LOOP{date}", tool_result=result))
        assert isinstance(answer, UseTool)


def test_only_the_last_prompt_directs() -> None:
    assert decide(asked("ECHO{old}", "ECHO{new}"))[0] == Say("new")
    assert isinstance(decide(asked("STATUS{500}", "fine"))[0], Say)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, "authentication_error"), (429, "rate_limit_error"), (529, "overloaded_error"), (503, "api_error")],
)
def test_an_error_has_the_name_that_the_api_has_for_it(status: int, kind: str) -> None:
    answer, _ = decide(asked(f"STATUS{{{status}}}"))
    assert isinstance(answer, Refuse)
    assert (answer.status, answer.kind) == (status, kind)


def test_an_error_can_be_one_model_s_alone() -> None:
    assert isinstance(decide(asked("STATUS{529,opus}", model="claude-opus-9"))[0], Refuse)
    assert isinstance(decide(asked("STATUS{529,opus}", model="claude-haiku-9"))[0], Say)


def test_an_unknown_model_is_not_found() -> None:
    assert decide(asked("hello", model="no-such-model"))[0] == Refuse(404, "not_found_error", "model: no-such-model")


def test_waiting_and_slow_pieces() -> None:
    assert decide(asked("SLEEP{1.5} SLOWSTREAM{2} ECHO{x}")) == (Say("x", slow_pieces=2), 1.5)


def test_structured_output_is_made_up_or_taken_from_the_prompt() -> None:
    assert decide(asked("what", schema=_SCHEMA))[0] == UseTool(STRUCTURED_OUTPUT, {"n": 0})
    assert decide(asked('JSON{"n": 7}', schema=_SCHEMA))[0] == UseTool(STRUCTURED_OUTPUT, {"n": 7})


def test_structured_output_comes_after_a_tool_and_only_once() -> None:
    assert isinstance(decide(asked("BASH{ls}", schema=_SCHEMA))[0], UseTool)
    assert decide(asked("BASH{ls}", schema=_SCHEMA, tool_result="files"))[0] == UseTool(STRUCTURED_OUTPUT, {"n": 0})
    done = asked("what", schema=_SCHEMA, tool_result="Structured output provided successfully")
    assert isinstance(decide(done)[0], Say)


def test_a_schema_beyond_it_is_an_error_that_says_how_to_go_on() -> None:
    answer, _ = decide(asked("what", schema={"type": "object", "required": ["a"], "properties": {"a": {"not": {}}}}))
    assert isinstance(answer, Refuse)
    assert answer.status == 400
    assert "JSON{…}" in answer.message


def test_a_status_says_when_to_come_back() -> None:
    answer, _ = decide(asked("STATUS{429} RETRYAFTER{30}"))
    assert isinstance(answer, Refuse)
    assert (answer.status, answer.retry_after, answer.limit) == (429, 30.0, None)


def test_a_usage_limit_is_a_429_that_says_when_it_ends() -> None:
    answer, _ = decide(asked("LIMIT{3600}"))
    assert isinstance(answer, Refuse)
    assert (answer.status, answer.kind, answer.limit) == (429, "rate_limit_error", 3600.0)


def test_an_empty_answer_and_one_that_is_cut() -> None:
    assert decide(asked("EMPTY{}"))[0] == Say(None)
    assert decide(asked("ECHO{a} CUTSTREAM{3}"))[0] == Say("a", cut_after=3)
