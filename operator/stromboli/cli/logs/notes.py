"""What the CLI says about itself in its events, in our words: its start, failed requests, compaction, its end. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from stromboli.cli.logs.tools import NAME, one_line
from stromboli.grammar import times
from stromboli.models.objects import entries, fields, number, text
from stromboli.plan.transcript import count
from stromboli.progress import duration

_SHOWN = 8  # of a list of names
_WELL = ("connected", "pending")  # states of an MCP server
_LAST = 32_503_680_000.0  # seconds since 1970: the year 3000


def of(event: Mapping[str, Any]) -> Iterator[str]:
    """The notes about an event of the type `system` or `rate_limit_event`; none for most."""
    match event.get("type"), event.get("subtype"):
        case "system", "init":
            yield from _start(event)
        case "system", "api_retry":
            yield _retry(event)
        case "system", "compact_boundary":
            yield _compacted(fields(event.get("compact_metadata")))
        case "rate_limit_event", _:
            yield from _limit(fields(event.get("rate_limit_info")))


def ending(event: Mapping[str, Any]) -> Iterator[str]:
    """The notes about a result."""
    if denied := _denied(event):
        yield f"denied: {denied}"
    for error in _errors(event):
        yield f"the CLI reports: {error}"
    usage = fields(event.get("usage"))
    cached = count(usage.get("cache_read_input_tokens"))
    read = sum(map(count, (usage.get("input_tokens"), cached, usage.get("cache_creation_input_tokens"))))
    turns = count(event.get("num_turns"))
    failed = event.get("is_error") is not False
    yield ", ".join(
        (
            f"{'failed' if failed else 'answered'} after {turns} turn{'s' if turns != 1 else ''}",
            f"{duration(_amount(event.get('duration_ms')) / 1000)}: {read:,} tokens in ({cached:,} cached)",
            f"{count(usage.get('output_tokens')):,} out",
            f"${_amount(event.get('total_cost_usd')):.4f}",
        )
    )


def _start(event: Mapping[str, Any]) -> Iterator[str]:
    cli = one_line(text(event.get("claude_code_version")), NAME)
    model = one_line(text(event.get("model")), NAME)
    yield "Claude Code" + (f" {cli}" if cli else "") + (f" with {model}" if model else "")
    for server in list(entries(event.get("mcp_servers")))[:_SHOWN]:
        if (status := text(server.get("status"))) not in _WELL:
            yield f"MCP server {one_line(text(server.get('name')), NAME)}: {one_line(status, NAME)}"


def _retry(event: Mapping[str, Any]) -> str:
    status, error = number(event.get("error_status")), one_line(text(event.get("error")), NAME)
    what = f"answers {status}" if status else "cannot be reached"
    pause = duration(_amount(event.get("retry_delay_ms")) / 1000)
    which = f"{count(event.get('attempt'))} of {count(event.get('max_retries'))}"
    return f"the Claude API {what}{f' ({error})' if error else ''}: retry {which} in {pause}"


def _compacted(about: Mapping[str, Any]) -> str:
    trigger, tokens = one_line(text(about.get("trigger")), NAME), count(about.get("pre_tokens"))
    return (
        "the conversation was compacted"
        + (f" ({trigger})" if trigger else "")
        + (f"; it had {tokens:,} tokens" if tokens else "")
    )


def _limit(about: Mapping[str, Any]) -> Iterator[str]:
    """A usage limit of the account; that it is not reached comes with each answer, and is not shown."""
    status = text(about.get("status"))
    if status in ("", "allowed"):
        return
    kind, ends = one_line(text(about.get("rateLimitType")), NAME), _amount(about.get("resetsAt"))
    what = "is reached" if status == "rejected" else f"is near ({one_line(status, NAME)})"
    until = f", until {times.to_text(datetime.fromtimestamp(ends, UTC))}" if 0 < ends < _LAST else ""
    yield f"the usage limit{f' {kind}' if kind else ''} {what}{until}"


def _denied(event: Mapping[str, Any]) -> str:
    """`2 tool uses (Bash, Write)`."""
    names = Counter(one_line(text(entry.get("tool_name")), NAME) for entry in entries(event.get("permission_denials")))
    if not names:
        return ""
    uses = names.total()
    return f"{uses} tool use{'s' if uses != 1 else ''} ({', '.join(list(names)[:_SHOWN])})"


def _errors(event: Mapping[str, Any]) -> Iterator[str]:
    errors = event.get("errors")
    for error in errors[:_SHOWN] if isinstance(errors, list) else []:
        if isinstance(error, str):
            yield one_line(error)


def _amount(value: object) -> float:
    found = float(value) if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53 else 0
    return found if math.isfinite(found) and found >= 0 else 0.0
