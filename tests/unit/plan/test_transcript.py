"""What is read from a transcript beside its result, also from a hostile one."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.plan import answer, transcript
from stromboli.plan.answer import Answer
from stromboli.plan.redaction import UNKNOWN, Secrets
from tests.support.builders import NOTHING_SECRET, result_event

SESSION = "s-1"


def line(**fields: Any) -> bytes:
    return json.dumps({"session_id": SESSION} | fields).encode() + b"\n"


def init(**fields: Any) -> bytes:
    return line(type="system", subtype="init", **fields)


def said(name: str = "m1", *, output: int = 1, model: str = "a", **fields: Any) -> bytes:
    content = [{"type": "text", "text": f"text of {name}"}]
    usage = {"input_tokens": 10, "output_tokens": output}
    message = {"id": name, "model": model, "content": content, "usage": usage}
    return line(**({"type": "assistant", "message": message} | fields))


def parsed(output: bytes, secrets: Secrets = NOTHING_SECRET) -> Answer:
    found = answer.parse(output, secrets)
    assert found is not None
    return found


# --- the session ---


def test_the_session_is_that_of_the_first_event() -> None:
    hook = line(type="system", subtype="hook_started", session_id="another")
    assert transcript.session(hook + init() + said()) == SESSION
    assert transcript.session(b'half of a line"}\n' + said()) == SESSION
    assert transcript.session(b"no event\n") == ""


def test_where_the_session_is_unknown_any_result_counts() -> None:
    assert parsed(b'{"type":"system","subtype":"init"}\n' + result_event()).text == "hi ✓"


# --- so far ---


def test_each_message_counts_once_with_its_greatest_counts() -> None:
    found = parsed(init() + said(output=1) + said(output=5) + said(output=3) + said("m2", output=2))
    assert (found.whole, found.turns, found.input_tokens, found.output_tokens) == (False, 2, 20, 7)
    assert (found.text, found.cost_usd, found.api_seconds) == ("text of m2", None, None)


def test_partial_messages_have_the_final_counts() -> None:
    start = line(type="stream_event", event={"type": "message_start", "message": {"id": "m1"}})
    delta = line(type="stream_event", event={"type": "message_delta", "usage": {"output_tokens": 70}})
    assert parsed(init() + start + said() + delta).output_tokens == 70
    assert parsed(init() + said() + delta).output_tokens == 1, "a delta of nothing"


def test_subagents_use_tokens_and_take_no_turn() -> None:
    found = parsed(init() + said() + said("m2", model="b", parent_tool_use_id="toolu_1"))
    assert (found.turns, found.input_tokens, found.text) == (1, 20, "text of m1")
    assert [(used.model, used.tokens.input, used.cost_usd) for used in found.models] == [
        ("a", 10, None),
        ("b", 10, None),
    ]


def test_what_the_cli_makes_up_and_what_others_say_is_not_counted() -> None:
    assert answer.parse(init() + said(model="<synthetic>") + said(session_id="other"), NOTHING_SECRET) is None


def test_many_models_are_summed_up() -> None:
    found = parsed(init() + b"".join(said(f"m{n}", model=f"model-{n}") for n in range(40)))
    assert len(found.models) == transcript.MAX_MODELS
    assert sum(used.tokens.input for used in found.models) == found.input_tokens == 400


def test_names_are_without_secrets_and_each_is_there_once() -> None:
    models: Any = {"a-secret-1": {}, "a-secret-2": {}, "b\x1b": {}}
    secrets = Secrets(["a-secret-1", "a-secret-2"])
    event = result_event(
        modelUsage=models, permission_denials=[{"tool_name": "a-secret-1"}, {"tool_name": "a-secret-2"}]
    )
    found = parsed(event, secrets)
    assert [used.model for used in found.models] == ["***", "b\\x1b"], "added up"
    assert found.denied == {"***": 2}
    assert len({used.model for used in parsed(event, UNKNOWN).models}) == len(parsed(event, UNKNOWN).models)


def test_denials_have_a_bound() -> None:
    event = result_event(permission_denials=[{"tool_name": f"t{n % 100}"} for n in range(1000)])
    assert len(parsed(event).denied) == answer.MAX_DENIALS


def test_several_results_of_a_process_are_added_up() -> None:
    """Each has what was used since the one before it; those of other conversations have not."""
    used = {"a": {"inputTokens": 1, "costUSD": 0.25}}
    first = result_event(session_id=SESSION, model_usage_since_last_result=used | {"b": {"outputTokens": 2}})
    other = result_event(session_id="other", model_usage_since_last_result=used)
    last = result_event(session_id=SESSION, model_usage_since_last_result=used, result_index=1)
    found = parsed(init() + first + other + last)
    assert [(each.model, each.tokens.input, each.cost_usd) for each in found.models] == [("a", 2, 0.5), ("b", 0, 0.0)]
    assert found.own_cost_usd == 0.5
    assert parsed(result_event(modelUsage=used)).own_cost_usd is None, "of the conversation"


# --- limits ---


def limited(*before: bytes, **fields: Any) -> float | None:
    """When the limit ends of a run that the API answered 429; it must be one."""
    at = {"timestamp": "2026-01-31T12:00:00Z"}
    refused = said(model="<synthetic>", error="rate_limit", is_api_error_message=True, **(at | fields))
    event = result_event(session_id=SESSION, is_error=True, api_error_status=429, result="API Error")
    found = parsed(init() + b"".join(before) + refused + event)
    assert found.limit is not None
    return found.limit.until


NOON = 1769860800.0


def retry(delay: Any, attempt: int = 1, status: int = 429) -> bytes:
    return line(
        type="system", subtype="api_retry", attempt=attempt, retry_delay_ms=delay, error_status=status, error="x"
    )


@pytest.mark.parametrize(
    ("delay", "attempt", "status", "until"),
    [
        (30_400, 1, 429, NOON + 30.4),
        (626, 1, 429, NOON + 0.626),
        (625, 1, 429, None),
        (2500, 3, 429, None),
        (30_400, 1, 529, None),
        ("30400", 1, 429, None),
        (-1, 1, 429, None),
    ],
)
def test_a_delay_that_the_api_asked_for(delay: Any, attempt: int, status: int, until: float | None) -> None:
    assert limited(retry(delay, attempt, status)) == until


def test_only_what_is_about_the_last_request_counts() -> None:
    assert limited(retry(30_400), said("m1")) is None


@pytest.mark.parametrize(
    ("info", "until"),
    [
        ({"status": "rejected", "resetsAt": NOON + 60}, NOON + 60),
        ({"status": "rejected", "resetsAt": int(NOON)}, NOON),
        ({"status": "allowed_warning", "resetsAt": NOON + 60}, None),
        ({"status": "rejected", "resetsAt": True}, None),
        ({"status": "rejected", "resetsAt": 1e300}, None),
        ({"status": "rejected", "resetsAt": -5}, None),
        ({"status": "rejected", "resetsAt": "soon"}, None),
        ({"status": "rejected"}, None),
        ([], None),
        (None, None),
    ],
)
def test_when_a_limit_ends(info: Any, until: float | None) -> None:
    assert limited(line(type="rate_limit_event", rate_limit_info=info)) == until
    assert limited(api_error_params={"rate_limit_info": info}) == until


@pytest.mark.parametrize("at", ["2026-01-31T12:00:00", "noon", 1, None, "9" * 100])
def test_a_delay_after_an_unknown_time_is_unknown(at: Any) -> None:
    assert limited(retry(30_400), timestamp=at) is None


# --- whatever there is ---

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
WORDS = (
    "type subtype message event session_id error rate_limit_info api_error_params timestamp api_error_status "
    "model_usage_since_last_result permission_denials retry_delay_ms terminal_reason"
)
KEYS = st.sampled_from(WORDS.split())
KINDS = st.sampled_from(["assistant", "system", "stream_event", "rate_limit_event", "result"])
EVENTS = st.lists(st.tuples(KINDS, st.dictionaries(KEYS, VALUES, max_size=4)), max_size=6)


@given(EVENTS)
def test_any_events_are_read(events: list[tuple[str, dict[str, Any]]]) -> None:
    output = b"".join(
        json.dumps({"session_id": SESSION, "type": kind} | fields).encode() + b"\n" for kind, fields in events
    )
    found = answer.parse(init() + output, NOTHING_SECRET)
    assert found is None or isinstance(found, Answer)


@pytest.mark.parametrize(
    "output",
    [
        init() + said() * 20_000,
        init() + b"".join(said(f"m{n}", model=f"x{n}") for n in range(20_000)),
        init() + (b'{"type":"assistant","a":' + b"[" * 1000 + b"\n") * 4000,
        init() + result_event(session_id="other") * 10_000,
        b'{"result"\n' * 900_000,
        b"{\n" * 4_000_000,
        b'{"usage"}\n' * 1_000_000,
    ],
    ids=["one-message", "many-messages", "deep", "of-others", "no-results", "braces", "no-events"],
)
def test_a_long_transcript_takes_seconds_at_most(output: bytes) -> None:
    begun = time.process_time()
    answer.parse(output, NOTHING_SECRET)
    assert time.process_time() - begun < 10
