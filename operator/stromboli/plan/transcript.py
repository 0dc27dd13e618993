"""Reads the events of the CLI's `--output-format stream-json` that a verdict depends on. Pure.

Each line is one event; what tools print is inside a string of an event, and so never a line of its own. All events of
one run have the session ID of its first one (`system/init`), which is how a `result` that something else wrote into the
output is told from the CLI's. Hostile input: an agent can write here, so time and memory are bounded; whoever writes
events in the CLI's own form can claim anything about itself, as an agent can in its answer too.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from stromboli import bounds
from stromboli.bounds import Bounds

# Larger events do not count, but for a result, which plan/answer.py reads.
_EVENT = Bounds(depth=66, size=4 * 1024 * 1024, values=50_000)
_FIRST = 32  # lines at the beginning among which the run's session ID is looked for
_SUMMED = 60_000  # events that are added up; of real ones, so many do not fit into the output that is kept
_LAST = 200  # lines that are read backwards for the last event of a kind
MAX_MODELS = 16
_OTHERS = "(others)"  # the models beyond those
SYNTHETIC = "<synthetic>"  # the model of messages that the CLI itself makes up, such as errors

Event = Mapping[str, Any]


@dataclass(slots=True)
class Tokens:
    """Counts of tokens."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_creation: int = 0

    def add(self, other: Tokens) -> None:
        self.input += other.input
        self.output += other.output
        self.cache_read += other.cache_read
        self.cache_creation += other.cache_creation

    def raise_to(self, other: Tokens) -> None:
        """The greater count of each kind: a message is reported several times while it grows."""
        self.input = max(self.input, other.input)
        self.output = max(self.output, other.output)
        self.cache_read = max(self.cache_read, other.cache_read)
        self.cache_creation = max(self.cache_creation, other.cache_creation)


@dataclass(slots=True)
class SoFar:
    """What a transcript without a result amounts to. `text` is the last text of the agent."""

    text: str = ""
    turns: int = 0
    models: dict[str, Tokens] = field(default_factory=dict)
    denied: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the CLI says about the last request. If it was refused, a message of its own `reports` that; `status` is the
    HTTP status, `kind` and `error` are the CLI's words for it.

    `resets_at` is when a limit ends, according to the API, and `delay` for how many seconds the CLI was told to wait
    after `at`.
    """

    reports: bool = False
    status: int | None = None
    kind: str = ""
    error: str = ""
    at: datetime | None = None
    resets_at: float | None = None
    delay: float | None = None


def session(output: bytes) -> str:
    """The session ID of the run: that of `system/init`, or, if that is lost, of the first event that has any."""
    found = ""
    for line in itertools.islice(_lines(output), _FIRST):
        if (event := _event(line)) is None:
            continue
        known = word(event.get("session_id"))
        if known and (event.get("type"), event.get("subtype")) == ("system", "init"):
            return known
        found = found or known
    return found


def is_session(event: Event, of: str) -> bool:
    """Whether an event is one of that session; of any, if `of` is empty because it is unknown."""
    return not of or word(event.get("session_id")) == of


def goes_on(rest: bytes, of: str) -> bool:
    """Whether the agent's work goes on in what follows a result, or stops in the middle of an event."""
    for line in itertools.islice(_lines(rest), _LAST):
        event = _event(line)
        if event is not None and event.get("type") == "assistant" and _is_of(event, of):
            return True
    last = rest[rest.rfind(b"\n") + 1 :]
    return last.startswith(b"{") and _event(last) is None


def refusal(before: bytes, of: str) -> Refusal:
    """What the events before a result say about the last request to the API."""
    message = None
    found = Refusal()
    for line in itertools.islice(_backwards(before), _LAST):
        event = _event(line)
        if event is None or not _is_of(event, of):
            continue
        match event.get("type"):
            case "assistant" if message is None:
                message = event
            case "rate_limit_event" if found.resets_at is None:
                found = replace(found, resets_at=_reset(event.get("rate_limit_info")))
            case "system" if event.get("subtype") == "api_retry" and found.delay is None:
                found = replace(found, delay=_asked_delay(event))
            case "assistant":
                break  # what comes before it is about another request
    if message is None or not is_error_message(message):
        return found
    parameters = message.get("api_error_params")
    own = _reset(parameters.get("rate_limit_info")) if isinstance(parameters, dict) else None
    return Refusal(
        reports=True,
        status=number(message.get("api_error_status")),
        kind=word(message.get("api_error")),
        error=word(message.get("error")),
        at=_time(message.get("timestamp")),
        resets_at=own if own is not None else found.resets_at,
        delay=found.delay,
    )


def is_error_message(event: Event) -> bool:
    """Whether a message of the assistant is an error that the CLI reports in its place."""
    if event.get("is_api_error_message") is True or event.get("isApiErrorMessage") is True:
        return True
    return isinstance(event.get("error"), str) and _model(event) == SYNTHETIC


def has_message(output: bytes, of: str) -> bool:
    """Whether there is any message of the agent among the last events."""
    for line in itertools.islice(_backwards(output), _LAST):
        event = _event(line) if b'"assistant"' in line else None
        if event is not None and event.get("type") == "assistant" and _is_of(event, of):
            return True
    return False


def so_far(output: bytes, of: str) -> SoFar | None:
    """The sum of the messages of a transcript; None if there is none. Each message counts once."""
    messages: dict[str, tuple[str, Tokens]] = {}
    turns: set[str] = set()
    found, current = SoFar(), ""
    for line in itertools.islice(filter(_counts, _lines(output)), _SUMMED):
        event = _event(line)
        if event is None or not _is_of(event, of, inner=True):
            continue
        match event:
            case {"type": "assistant", "message": {"id": str(name)} as message} if _model(event) != SYNTHETIC:
                _, known = messages.setdefault(name, (_model(event), Tokens()))
                known.raise_to(tokens(message.get("usage")))
                if event.get("parent_tool_use_id") is None:
                    turns.add(name)
                    found.text = _text(message) or found.text
            case {"type": "stream_event", "event": {"type": "message_start", "message": {"id": str(name)}}}:
                current = name
            case {"type": "stream_event", "event": {"type": "message_delta", "usage": dict(usage)}}:
                if current in messages:
                    messages[current][1].raise_to(tokens(usage))
            case {"type": "system", "subtype": "permission_denied", "tool_name": str(tool)}:
                found.denied[tool] = found.denied.get(tool, 0) + 1
    for model, used in messages.values():
        name = model if model in found.models or len(found.models) < MAX_MODELS - 1 else _OTHERS
        found.models.setdefault(name, Tokens()).add(used)
    found.turns = len(turns)
    return found if messages else None


def tokens(usage: object) -> Tokens:
    """The counts of a `usage` as the API reports it."""
    if not isinstance(usage, dict):
        return Tokens()
    return Tokens(
        count(usage.get("input_tokens")),
        count(usage.get("output_tokens")),
        count(usage.get("cache_read_input_tokens")),
        count(usage.get("cache_creation_input_tokens")),
    )


def count(value: Any) -> int:
    """A number of things; 0 if it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else 0


def word(value: Any, limit: int = 256) -> str:
    """A value that is one word in real events; at most `limit` bytes of it."""
    return value.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore") if isinstance(value, str) else ""


def number(value: Any) -> int | None:
    """An HTTP status of an error."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 400 <= value <= 599 else None


# --- lines and events ---


def _lines(output: bytes) -> Iterator[bytes]:
    start = 0
    while (end := output.find(b"\n", start)) >= 0:
        yield output[start:end]
        start = end + 1
    yield output[start:]


def _backwards(output: bytes) -> Iterator[bytes]:
    end = len(output)
    while end > 0:
        start = output.rfind(b"\n", 0, end) + 1
        yield output[start:end]
        end = start - 1


def _counts(line: bytes) -> bool:
    """Whether a line may be an event that is added up."""
    return line.endswith(b"}") and (b'"usage"' in line or b'"message_start"' in line or b'"permission_denied"' in line)


def _event(line: bytes) -> Event | None:
    if not (line.startswith(b"{") and line.rstrip().endswith(b"}")):
        return None
    try:
        event = bounds.json_document(line, _EVENT)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def _is_of(event: Event, of: str, *, inner: bool = False) -> bool:
    """Whether an event is one of the run's, and not, unless `inner`, one of a subagent."""
    if not is_session(event, of):
        return False
    return inner or event.get("parent_tool_use_id") is None


def _model(event: Event) -> str:
    message = event.get("message")
    return word(message.get("model")) if isinstance(message, dict) else ""


def _text(message: Event) -> str:
    content = message.get("content")
    texts = [block.get("text") for block in content if isinstance(block, dict)] if isinstance(content, list) else []
    return "".join(text for text in texts if isinstance(text, str))


# --- limits ---


def _reset(info: object) -> float | None:
    """When a limit that was reached ends, in seconds since 1970."""
    match info:
        case {"status": "rejected", "resetsAt": int() | float() as at} if not isinstance(at, bool) and 0 < at < 1e11:
            return float(at)
    return None


def _asked_delay(event: Event) -> float | None:
    """The seconds that the API asked to wait before a retry; None if the CLI's own backoff explains them.

    That doubles from half a second, and up to a quarter is added (seen: 2.1.332); the API's comes on top.
    """
    delay, attempt = count(event.get("retry_delay_ms")), min(count(event.get("attempt")), 7)
    if event.get("error_status") != 429 or delay <= 625 * 2 ** max(attempt - 1, 0):
        return None
    return delay / 1000


def _time(text: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) and len(text) < 40 else None
    except ValueError:
        return None
    return found.astimezone(UTC) if found is not None and found.tzinfo is not None else None
