"""Reads the CLI's `--output-format stream-json` while the agent works: its MCP servers, failing requests. Pure.

Its first event (`system/init`) has the state of each MCP server; `system/api_retry` comes whenever a request to the
Claude API has failed and is retried, and any later event means that it succeeded. Hostile input: an agent can write to
this output. At most a few lines are parsed, each of bounded size.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stromboli import bounds
from stromboli.bounds import Bounds
from stromboli.models.objects import moment
from stromboli.plan.answer import clip
from stromboli.plan.redaction import Secrets

MAX_SERVERS = 64
MAX_NAME = 128  # bytes, of a server's name
MAX_WORD = 64  # bytes, of its status and of an error's name
MISSING = "missing"  # our status for a server that the CLI does not report
_FAILED = frozenset({"failed", "needs-auth", MISSING})

FIRST_CHECK, LAST_CHECK = 3.0, 30.0  # seconds between checks of an agent: the shortest, and the longest

_EVENT = Bounds(depth=32, size=256 * 1024, values=10_000)
_TRIES = 3  # lines that look like the event in question
_LAST_LINES = 12  # of an output: when it is ended, the CLI writes three


@dataclass(frozen=True, slots=True)
class MCPServer:
    """One server, and its status as the CLI reports it: connected, failed, needs-auth, pending …, or MISSING."""

    name: str
    status: str

    @property
    def failed(self) -> bool:
        return self.status in _FAILED


@dataclass(frozen=True, slots=True)
class Retry:
    """A request that failed and is retried. `status` is the HTTP status, None if there was no response."""

    status: int | None
    error: str
    limit: int


def pending(names: Iterable[str]) -> tuple[MCPServer, ...]:
    """The servers that a spec names, before the CLI has reported them."""
    clipped = dict.fromkeys(clip(name, MAX_NAME)[0] for name in names)
    return tuple(MCPServer(name, "pending") for name in itertools.islice(clipped, MAX_SERVERS))


def mcp_servers(output: bytes, stated: Iterable[str], secrets: Secrets) -> tuple[MCPServer, ...]:
    """The state of the MCP servers, of which `stated` are expected; empty before the CLI has reported them."""
    for line in _lines(output, b'"mcp_servers"'):
        event = _event(line, "init")
        if event is not None:
            found = dict.fromkeys((secrets.head(name, MAX_NAME)[0] for name in stated), MISSING)
            found |= dict(_servers(event.get("mcp_servers"), secrets))
            return tuple(MCPServer(*each) for each in itertools.islice(found.items(), MAX_SERVERS))
    return ()


def retry(output: bytes) -> Retry | None:
    """The failed request that the CLI is retrying, if its last event is about one."""
    whole = output.rfind(b"\n")
    if whole < 0:
        return None
    event = _event(output[output.rfind(b"\n", 0, whole) + 1 : whole], "api_retry")
    if event is None:
        return None
    error = event.get("error")
    return Retry(
        status=_number(event.get("error_status"), 100, 599),
        error=error if isinstance(error, str) and _is_word(error) else "unknown",
        limit=_number(event.get("max_retries"), 0, 9_999) or 0,
    )


def last_event(output: bytes, until: datetime | None = None) -> tuple[str, datetime | None]:
    """The kind of the CLI's last event, such as `assistant` or `system/init`, and when that was, if it says so. Empty
    if there is none.

    With `until`, the last one that is not later. One that does not say when it was counts as later if it stands among
    such events, unless there is no other. Only the last lines are looked at.
    """
    undated = ""
    for event in _last_events(output):
        part = event.get("subtype")
        kind = f"{event['type']}/{part}" if isinstance(part, str) and _is_word(part) else str(event["type"])
        at = moment(event.get("timestamp"))
        if until is None or (at is not None and at <= until):
            return kind, at
        undated = undated if at is not None else kind
    return undated, None


def _last_events(output: bytes) -> Iterator[Mapping[str, Any]]:
    """The events in the last lines, backwards."""
    stop = len(output)
    for _ in range(_LAST_LINES):
        start = output.rfind(b"\n", 0, stop) + 1
        try:
            event = bounds.json_document(output[start:stop], _EVENT)
        except ValueError:
            event = None
        if isinstance(event, dict) and isinstance(kind := event.get("type"), str) and _is_word(kind):
            yield event
        if start == 0:
            return
        stop = start - 1


def at_work(failing: Retry | None) -> str:
    """The message of a run's status while its agent works."""
    if failing is None:
        return "the agent is at work"
    again = f"the CLI tries again, at most {failing.limit} times"
    if failing.status is None:
        return (
            f"the Claude API cannot be reached; {again}. An administrator checks the network and ANTHROPIC_BASE_URL of "
            "the AgentPolicy"
        )
    said = f"the Claude API answers {failing.status} ({failing.error}); {again}"
    if failing.status in (401, 403):
        return f"{said}. An administrator checks the credentials of the AgentPolicy"
    return said


def next_check(spent: float) -> float:
    """Seconds until the output is read again, `spent` seconds after the start: less and less often."""
    return min(max(spent / 2, FIRST_CHECK), LAST_CHECK)


def servers_failed(servers: Iterable[MCPServer]) -> str | None:
    """A sentence about the servers that the agent works without; None if there are none."""
    failed = [f"{server.name}: {server.status}" for server in servers if server.failed]
    if not failed:
        return None
    return (
        f"the agent works without these MCP servers of claude.mcpConfigs ({', '.join(failed[:8])}); claude.debug: "
        "true has the CLI say why in its standard error"
    )


def _lines(output: bytes, word: bytes) -> Iterator[bytes]:
    """The first lines that contain the word."""
    end = 0
    for _ in range(_TRIES):
        at = output.find(word, end)
        if at < 0:
            return
        start, stop = output.rfind(b"\n", 0, at) + 1, output.find(b"\n", at)
        if stop < 0:
            return  # it is still being written
        yield output[start:stop]
        end = stop


def _event(line: bytes, subtype: str) -> Mapping[str, Any] | None:
    try:
        event = bounds.json_document(line, _EVENT)
    except ValueError:
        return None
    return (
        event if isinstance(event, dict) and (event.get("type"), event.get("subtype")) == ("system", subtype) else None
    )


def _servers(entries: object, secrets: Secrets) -> Iterator[tuple[str, str]]:
    for entry in entries if isinstance(entries, list) else []:
        match entry:
            case {"name": str(name), "status": str(status)} if name and _is_word(status):
                yield secrets.head(name, MAX_NAME)[0], status


def _number(value: object, least: int, most: int) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most else None


def _is_word(text: str) -> bool:
    return 0 < len(text) <= MAX_WORD and text.isascii() and text.replace("_", "").replace("-", "").isalnum()
