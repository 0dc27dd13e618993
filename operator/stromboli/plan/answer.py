"""Parses the agent's answer from the CLI's `--output-format stream-json`. Pure.

Only the last event of type `result` counts; the input may begin in the middle of a line, since only the end of
long output is kept. `is_error` decides, not `subtype` (an API error comes with subtype "success").
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stromboli import bounds, visible
from stromboli.bounds import Bounds
from stromboli.errors import OutOfBounds
from stromboli.plan.redaction import Secrets

MAX_TEXT = 32 * 1024
# A status has to fit into etcd together with its object.
MAX_STRUCTURED = 256 * 1024
MAX_DEPTH = 64
MAX_NUMBER = sys.float_info.max
_MAX_WORD = 256  # of a value that is one word in real events
# An agent can write to its own output, so parsing it takes bounded time and memory: in an event that is larger than
# _EVENT, fields of more than _SPARED bytes are left out, and one beyond _READABLE does not count.
_EVENT = Bounds(depth=MAX_DEPTH + 2, size=16 * 1024 * 1024, values=100_000)
_READABLE = Bounds(depth=16 * 1024 * 1024, size=16 * 1024 * 1024, values=400_000)
_SPARED = 16 * 1024
_MAX_TRIES = 1000  # lines that look like an event


@dataclass(frozen=True, slots=True)
class Answer:
    """The result event, checked. Tokens are counts, cost is in US dollars.

    `left_out` has a phrase for each part of the answer that is missing or truncated.
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
    cost_usd: float
    left_out: tuple[str, ...] = ()


def parse(output: bytes, secrets: Secrets) -> Answer | None:
    """The answer in the CLI's standard output, without `secrets`, or None if there is none."""
    for line in itertools.islice(_candidates(output), _MAX_TRIES):
        if (found := _event(line)) is not None:
            return _answer(*found, secrets)
    return None


def _candidates(output: bytes) -> Iterator[bytes]:
    """The lines that may be a result event, the last first."""
    end = len(output)
    while (at := output.rfind(b'"result"', 0, end)) >= 0:
        start, stop = output.rfind(b"\n", 0, at) + 1, output.find(b"\n", at)
        yield output[start : stop if stop >= 0 else len(output)]
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


def _answer(event: Mapping[str, Any], cut: bool, secrets: Secrets) -> Answer:
    head, more = secrets.head(_said(event), MAX_TEXT)
    text, cut_off = clip(visible.text(head), MAX_TEXT)  # escaping makes it longer
    truncated = more or cut_off
    structured, left_out = _structured(event, cut)
    if truncated:
        left_out = (f"the text is longer than {MAX_TEXT} bytes", *left_out)
    usage = event.get("usage")
    if not isinstance(usage, dict):
        usage = {}
    return Answer(
        subtype=_word(event.get("subtype")),
        is_error=event.get("is_error") is not False,
        text=text,
        truncated=truncated,
        structured=secrets.value(structured),
        session_id=_word(event.get("session_id")),
        turns=_count(event.get("num_turns")),
        input_tokens=_count(usage.get("input_tokens")),
        output_tokens=_count(usage.get("output_tokens")),
        cache_read_tokens=_count(usage.get("cache_read_input_tokens")),
        cache_creation_tokens=_count(usage.get("cache_creation_input_tokens")),
        cost_usd=_amount(event.get("total_cost_usd")),
        left_out=left_out,
    )


def _said(event: Mapping[str, Any]) -> str:
    """The agent's text or, if there is none, the CLI's errors."""
    match event:
        case {"result": str(text)}:
            return text
        case {"errors": list(errors)}:
            return "\n".join(error for error in errors if isinstance(error, str))
    return ""


def _word(value: Any) -> str:
    return clip(value, _MAX_WORD)[0] if isinstance(value, str) else ""


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else 0


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
