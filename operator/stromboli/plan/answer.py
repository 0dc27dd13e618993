"""The CLI's `--output-format stream-json` → what the agent answered. Pure.

Only the last event of type `result` counts; the input may begin in the middle of a line, since only the end of
long output is kept. `is_error` decides, not `subtype` (an API error comes with subtype "success").
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stromboli.plan.redaction import Secrets

MAX_TEXT = 32 * 1024
# A status has to fit into etcd beside its object.
MAX_STRUCTURED = 256 * 1024
MAX_DEPTH = 64
MAX_NUMBER = sys.float_info.max


@dataclass(frozen=True, slots=True)
class Answer:
    """The result event, checked. Tokens are counts, cost is in US dollars."""

    subtype: str
    is_error: bool
    text: str
    truncated: bool
    structured: Any  # None also where it is larger than MAX_STRUCTURED or deeper than MAX_DEPTH
    session_id: str
    turns: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_creation_tokens: int
    cost_usd: float


def parse(output: bytes, secrets: Secrets) -> Answer | None:
    """The answer in the CLI's standard output, without `secrets`, or None if there is none."""
    for line in reversed(output.split(b"\n")):
        if b'"result"' in line and (event := _event(line)) is not None:
            return _answer(event, secrets)
    return None


def clip(text: str, limit: int) -> tuple[str, bool]:
    """At most `limit` bytes of UTF-8, never broken inside a character; and whether something was cut."""
    data = text.encode("utf-8", "replace")
    if len(data) <= limit:
        return data.decode("utf-8"), False
    return data[:limit].decode("utf-8", "ignore"), True


def _event(line: bytes) -> Mapping[str, Any] | None:
    try:
        event = json.loads(line.decode("utf-8", "replace"), parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and event.get("type") == "result" else None


def _answer(event: Mapping[str, Any], secrets: Secrets) -> Answer:
    raw = event.get("result")
    errors = event.get("errors")
    said = raw if isinstance(raw, str) else "\n".join(str(e) for e in errors) if isinstance(errors, list) else ""
    text, truncated = secrets.head(said.replace("\0", "\N{REPLACEMENT CHARACTER}"), MAX_TEXT)
    usage = event.get("usage") if isinstance(event.get("usage"), dict) else {}
    assert isinstance(usage, dict)
    return Answer(
        subtype=str(event.get("subtype", "")),
        is_error=event.get("is_error") is not False,
        text=text,
        truncated=truncated,
        structured=secrets.value(_structured(event.get("structured_output"))),
        session_id=str(event.get("session_id", "")),
        turns=_count(event.get("num_turns")),
        input_tokens=_count(usage.get("input_tokens")),
        output_tokens=_count(usage.get("output_tokens")),
        cache_read_tokens=_count(usage.get("cache_read_input_tokens")),
        cache_creation_tokens=_count(usage.get("cache_creation_input_tokens")),
        cost_usd=_amount(event.get("total_cost_usd")),
    )


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else 0


def _amount(value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return round(float(value), 6) if number and 0 <= value < 1e9 else 0.0


def _structured(value: Any) -> Any:
    try:
        storable = _storable(value, MAX_DEPTH)
    except ValueError:
        return None
    return storable if len(json.dumps(storable)) <= MAX_STRUCTURED else None


def _storable(value: Any, depth: int) -> Any:
    """The value as the API server can take it: valid UTF-8, numbers that a double holds. ValueError if too deep."""
    if depth < 0:
        raise ValueError("nested too deeply")
    match value:
        case str():
            return _text(value)
        case int() | float() if not -MAX_NUMBER <= value <= MAX_NUMBER:
            return None
        case list():
            return [_storable(v, depth - 1) for v in value]
        case dict():
            return {_text(k): _storable(v, depth - 1) for k, v in value.items()}
    return value


def _text(text: str) -> str:
    """Halves of surrogate pairs become a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")
