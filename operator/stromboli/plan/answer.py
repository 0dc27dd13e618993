"""Parses the agent's answer from the CLI's `--output-format stream-json`. Pure.

Only the last event of type `result` counts, if it is the run's own and nothing follows it (plan/transcript.py); the
input may begin in the middle of a line, since only the end of long output is kept. Without one, what the agent has said
and used so far is added up. Whether an answer is a success depends on all that the CLI says: an API error comes with
subtype "success", and older CLIs report a limit without `is_error`.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stromboli import bounds, visible
from stromboli.bounds import Bounds
from stromboli.errors import OutOfBounds
from stromboli.plan import transcript
from stromboli.plan.redaction import Secrets
from stromboli.plan.transcript import MAX_MODELS, Refusal, Tokens, count, word

MAX_TEXT = 32 * 1024
# A status has to fit into etcd together with its object.
MAX_STRUCTURED = 256 * 1024
MAX_DEPTH = 64
MAX_NUMBER = sys.float_info.max
MAX_DENIALS = 64  # tools
# An agent can write to its own output, so parsing it takes bounded time and memory: in an event that is larger than
# _EVENT, fields of more than _SPARED bytes are left out, and one beyond _READABLE does not count.
_EVENT = Bounds(depth=MAX_DEPTH + 2, size=16 * 1024 * 1024, values=100_000)
_READABLE = Bounds(depth=16 * 1024 * 1024, size=16 * 1024 * 1024, values=400_000)
_SPARED = 16 * 1024
_MAX_TRIES = 1000  # lines that look like an event

_SINCE = "model_usage_since_last_result"
# How the CLI says that it ended (`terminal_reason`, seen: 2.1.332), where that is no success.
_FAILED_ENDS = frozenset(
    {"aborted_streaming", "aborted_tools", "api_error", "blocking_limit", "budget_exhausted", "image_error"}
    | {"malformed_tool_use_exhausted", "max_turns", "model_error", "prompt_too_long", "rapid_refill_breaker"}
    | {"structured_output_retry_exhausted", "turn_setup_failed"}
)
# What the CLI itself says in place of a model, which would have used tokens for it.
_OWN_WORDS = re.compile(
    r"API Error\b|Failed to authenticate\b|Invalid API key\b|Credit balance is too low|Execution error|"
    r"Prompt is too long|(?:Claude AI )?usage limit reached|You've (?:hit|reached) your ",
    re.IGNORECASE,
)
_LIMIT_TEXT = re.compile(
    r"(?:Claude AI )?usage limit reached(?:\|(?P<until>[0-9]{9,11})\b)?|You've (?:hit|reached) your .{1,80}limit",
    re.IGNORECASE,
)
# Refusals that come as 429 too, and that no waiting ends.
_NO_CREDITS = frozenset({"model_requires_usage_credits", "long_context_credits_required"})


@dataclass(frozen=True, slots=True)
class ModelUse:
    """What one model was used for; the cost is in US dollars, None if it is unknown."""

    model: str
    tokens: Tokens
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Limit:
    """A rate limit, or a plan's usage limit, for which the API did not answer; and when it ends, in seconds since 1970,
    if the API said so.
    """

    until: float | None


@dataclass(frozen=True, slots=True)
class Answer:
    """The result event, checked. Tokens are counts, cost is in US dollars, None if it is unknown.

    `left_out` has a phrase for each part of the answer that is missing or truncated. An answer that is not `whole` is
    no result, but what the agent had said and used when its output ended. `failed` says that it is no success, whatever
    `is_error` says, which is the CLI's own; `limit` that this is because of a limit of the API. `empty` means that no
    model said anything. `denied` has the number of denied uses by tool. `cost_usd` is of all runs of the conversation,
    `own_cost_usd` of this process. `unfit` says why the structured answer cannot be checked; otherwise `given` is that
    answer as the agent gave it, with all secrets.
    """

    subtype: str
    is_error: bool
    text: str
    truncated: bool
    structured: Any
    session_id: str
    turns: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_creation_tokens: int
    cost_usd: float | None
    left_out: tuple[str, ...] = ()
    whole: bool = True
    failed: bool = False
    empty: bool = False
    limit: Limit | None = None
    ending: str = ""
    models: tuple[ModelUse, ...] = ()
    own_cost_usd: float | None = None
    api_seconds: float | None = None
    denied: Mapping[str, int] = field(default_factory=dict)
    unfit: str | None = None
    given: Any = field(default=None, compare=False, repr=False)


def parse(output: bytes, secrets: Secrets) -> Answer | None:
    """The answer in the CLI's standard output, without `secrets`; or what there is of one; None if there is nothing."""
    session = transcript.session(output)
    lines = itertools.islice(_candidates(output), _MAX_TRIES)
    for start, stop in lines:
        found = _event(output[start:stop])
        if found is None or not transcript.is_session(found[0], session):
            continue
        if transcript.goes_on(output[stop + 1 :], session):
            break
        said = transcript.has_message(output[:start], session)
        whole = _answer(*found, transcript.refusal(output[:start], session), said, secrets)
        used = [found[0]]
        if count(found[0].get("result_index")):  # of several: work in the background has made the agent go on
            others = (event[0] for begin, end in lines if (event := _event(output[begin:end])) is not None)
            used += [event for event in others if transcript.is_session(event, session)]
        models = _models(used, secrets)
        own = [each.cost_usd or 0.0 for each in models] if all(_SINCE in event for event in used) else None
        return replace(whole, models=models, own_cost_usd=None if own is None else round(sum(own), 6))
    so_far = transcript.so_far(output, session)
    return None if so_far is None else _unfinished(so_far, session, secrets)


def result_line(output: bytes) -> bytes | None:
    """The line of the last result event, as the CLI wrote it; None if there is none."""
    session = transcript.session(output)
    for start, stop in itertools.islice(_candidates(output), _MAX_TRIES):
        found = _event(output[start:stop])
        if found is not None and transcript.is_session(found[0], session):
            return output[start:stop]
    return None


def words(line: bytes) -> str:
    """What a result event's line says, with all secrets: the agent's text or, if there is none, the CLI's errors."""
    found = _event(line)
    return "" if found is None else _said(found[0])


def _candidates(output: bytes) -> Iterator[tuple[int, int]]:
    """Where the lines are that may be a result event, the last first."""
    end = len(output)
    while (at := output.rfind(b'"result"', 0, end)) >= 0:
        start, stop = output.rfind(b"\n", 0, at) + 1, output.find(b"\n", at)
        yield start, stop if stop >= 0 else len(output)
        end = start


def clip(text: str, limit: int) -> tuple[str, bool]:
    """At most `limit` bytes of UTF-8, never cut inside a character; and whether something was cut."""
    data = text.encode("utf-8", "replace")
    if len(data) <= limit:
        return data.decode("utf-8"), False
    return data[:limit].decode("utf-8", "ignore"), True


def _event(line: bytes) -> tuple[Mapping[str, Any], bool] | None:
    """The result event of a line, and whether large fields were left out."""
    cut = False
    try:
        bounds.measure_json(line, _READABLE)
        line = bounds.cut_json(line, _EVENT.depth)
        try:
            event = _loaded(line)
        except OutOfBounds:
            event, cut = _loaded(bounds.cut_json(line, 1, spare=_SPARED)), True
    except ValueError:
        return None
    return (event, cut) if isinstance(event, dict) and event.get("type") == "result" else None


def _loaded(data: bytes) -> Any:
    return bounds.json_document(data, _EVENT, constant=float)


def _answer(event: Mapping[str, Any], cut: bool, refused: Refusal, said: bool, secrets: Secrets) -> Answer:
    words = _said(event)
    text, truncated, left_out = _shown(words, secrets)
    structured, missing = _structured(event, cut)
    used = transcript.tokens(event.get("usage"))
    is_error, subtype, ending = (
        event.get("is_error") is not False,
        word(event.get("subtype")),
        event.get("terminal_reason"),
    )
    own_words = _counted_none(event) and _OWN_WORDS.match(words.strip()) is not None
    status = transcript.number(event.get("api_error_status"))
    failed = is_error or subtype != "success" or status is not None or refused.reports or own_words
    failed = failed or ending in _FAILED_ENDS
    value = event.get("structured_output")
    return Answer(
        subtype=subtype,
        is_error=is_error,
        text=text,
        truncated=truncated,
        structured=secrets.value(structured),
        session_id=word(event.get("session_id")),
        turns=count(event.get("num_turns")),
        input_tokens=used.input,
        output_tokens=used.output,
        cache_read_tokens=used.cache_read,
        cache_creation_tokens=used.cache_creation,
        cost_usd=_amount(event.get("total_cost_usd")),
        left_out=(*left_out, *missing),
        failed=failed,
        empty=not words.strip() and value is None and not said,
        limit=_limit(event, status, words, refused) if failed else None,
        ending=word(ending),
        api_seconds=count(event.get("duration_api_ms")) / 1000,
        denied=_denied(event.get("permission_denials"), secrets),
        unfit=_unfit(event, cut),
        given=value,
    )


def _unfinished(so_far: transcript.SoFar, session: str, secrets: Secrets) -> Answer:
    """An answer out of the messages of a transcript that has no result."""
    text, truncated, left_out = _shown(so_far.text, secrets)
    used = Tokens()
    for each in so_far.models.values():
        used.add(each)
    return Answer(
        subtype="",
        is_error=False,
        text=text,
        truncated=truncated,
        structured=None,
        session_id=session,
        turns=so_far.turns,
        input_tokens=used.input,
        output_tokens=used.output,
        cache_read_tokens=used.cache_read,
        cache_creation_tokens=used.cache_creation,
        cost_usd=None,
        left_out=left_out,
        whole=False,
        failed=True,
        models=tuple(ModelUse(_name(name, secrets), each, None) for name, each in so_far.models.items()),
        denied=_most({_name(tool, secrets): n for tool, n in so_far.denied.items()}),
    )


def _shown(words: str, secrets: Secrets) -> tuple[str, bool, tuple[str, ...]]:
    """A text as it is shown, whether it is truncated, and a phrase about that."""
    head, more = secrets.head(words, MAX_TEXT)
    text, cut_off = clip(visible.text(head), MAX_TEXT)  # escaping makes it longer
    truncated = more or cut_off
    return text, truncated, (f"the text is longer than {MAX_TEXT} bytes",) if truncated else ()


def _counted_none(event: Mapping[str, Any]) -> bool:
    """Whether the CLI counted no token of an answer."""
    usage = event.get("usage")
    return isinstance(usage, dict) and usage.get("output_tokens") == 0


def _limit(event: Mapping[str, Any], status: int | None, words: str, refused: Refusal) -> Limit | None:
    """The limit because of which a failed answer failed, if it is one that ends."""
    status = status if status is not None else refused.status
    kind = word(event.get("api_error")) or refused.kind
    in_words = _LIMIT_TEXT.match(words.strip())
    by_plan = kind == "usage_limit_reached" or (in_words is not None and not kind)
    by_rate = status == 429 or (status is None and refused.error == "rate_limit")
    if kind in _NO_CREDITS or not (by_plan or by_rate):
        return None
    if refused.resets_at is not None:
        return Limit(refused.resets_at)
    if in_words is not None and in_words["until"]:
        return Limit(float(in_words["until"]))
    if refused.delay is not None and refused.at is not None:
        return Limit(refused.at.timestamp() + refused.delay)
    return Limit(None)


def _models(events: Sequence[Mapping[str, Any]], secrets: Secrets) -> tuple[ModelUse, ...]:
    """The models of this run, by all of its results. `modelUsage` counts all runs of the conversation, so it is read
    only from older CLIs.
    """
    found: dict[str, ModelUse] = {}
    for event in events:
        used = event.get(_SINCE, event.get("modelUsage"))
        for name, fields in itertools.islice(used.items() if isinstance(used, dict) else (), MAX_MODELS):
            shown = _name(name, secrets)
            if not isinstance(fields, dict) or (shown not in found and len(found) >= MAX_MODELS):
                continue
            known = found.get(shown, ModelUse(shown, Tokens(), 0.0))
            known.tokens.add(
                Tokens(
                    count(fields.get("inputTokens")),
                    count(fields.get("outputTokens")),
                    count(fields.get("cacheReadInputTokens")),
                    count(fields.get("cacheCreationInputTokens")),
                )
            )
            found[shown] = replace(known, cost_usd=round((known.cost_usd or 0.0) + _amount(fields.get("costUSD")), 6))
    return tuple(found.values())


def _denied(denials: object, secrets: Secrets) -> Mapping[str, int]:
    """How often the use of each tool was denied."""
    found: dict[str, int] = {}
    for each in denials if isinstance(denials, list) else []:
        if isinstance(each, dict) and isinstance(tool := each.get("tool_name"), str):
            name = _name(tool, secrets)
            found[name] = found.get(name, 0) + 1
    return _most(found)


def _most(found: Mapping[str, int]) -> Mapping[str, int]:
    return dict(itertools.islice(found.items(), MAX_DENIALS))


def _name(name: str, secrets: Secrets) -> str:
    return word(visible.text(secrets.head(name, 256)[0]))


def _unfit(event: Mapping[str, Any], cut: bool) -> str | None:
    """Why the structured answer cannot be checked by a schema."""
    value = event.get("structured_output")
    if value is None:
        if cut and "structured_output" in event:
            return f"the structured answer has more than {_EVENT.values} values, too many to be checked"
        return "there is no structured answer"
    try:
        bounds.check(value, Bounds(MAX_DEPTH, _EVENT.size, _EVENT.values))
    except OutOfBounds:
        return f"the structured answer is nested deeper than {MAX_DEPTH} levels, too deep to be checked"
    return None


def _said(event: Mapping[str, Any]) -> str:
    """The agent's text or, if there is none, the CLI's errors."""
    match event:
        case {"result": str(text)}:
            return text
        case {"errors": list(errors)}:
            return "\n".join(error for error in errors if isinstance(error, str))
    return ""


def _amount(value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return round(float(value), 6) if number and 0 <= value < 1e9 else 0.0


def _structured(event: Mapping[str, Any], cut: bool) -> tuple[Any, tuple[str, ...]]:
    """The structured answer in a form that the API server accepts, and what is missing. `cut` is from `_event`."""
    value = event.get("structured_output")
    if value is None and cut and "structured_output" in event:
        return None, (f"the structured answer has more than {_EVENT.values} values",)
    try:
        bounds.check(value, Bounds(MAX_DEPTH, _EVENT.size, _EVENT.values))
    except OutOfBounds:
        return None, (f"the structured answer is nested deeper than {MAX_DEPTH} levels",)
    storable = _storable(value)
    if len(json.dumps(storable)) > MAX_STRUCTURED:
        return None, (f"the structured answer is larger than {MAX_STRUCTURED} bytes",)
    if storable != value:
        return storable, ("the structured answer has numbers or characters that cannot be stored",)
    return storable, ()


def _storable(value: Any) -> Any:
    """The value with valid UTF-8 and with null for numbers that a double cannot hold. Its depth is bounded."""
    match value:
        case str():
            return _text(value)
        case int() | float() if not -MAX_NUMBER <= value <= MAX_NUMBER:
            return None
        case list():
            return [_storable(v) for v in value]
        case dict():
            return {_text(k): _storable(v) for k, v in value.items()}
    return value


def _text(text: str) -> str:
    """The text with a question mark for each half of a surrogate pair."""
    return text.encode("utf-8", "replace").decode("utf-8")
