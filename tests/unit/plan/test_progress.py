"""What the CLI says while it is at work; the events are as version 2.1.332 writes them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.plan import progress
from stromboli.plan.progress import MCPServer, Retry
from stromboli.plan.redaction import Secrets

NONE = Secrets(())


def lines(*events: Any) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def init(*servers: Any) -> dict[str, Any]:
    return {"type": "system", "subtype": "init", "mcp_servers": list(servers), "model": "m"}


def retry(**fields: Any) -> dict[str, Any]:
    known = {"attempt": 1, "max_retries": 10, "error_status": 401, "error": "authentication_failed"}
    return {"type": "system", "subtype": "api_retry", **known, **fields}


def server(name: Any, status: Any) -> dict[str, Any]:
    return {"name": name, "status": status, "source": "dynamic"}


def test_servers_as_the_first_event_has_them_and_those_it_does_not_name() -> None:
    output = lines(init(server("a", "connected"), server("b", "failed")), {"type": "assistant"})
    found = progress.mcp_servers(output, ("a", "c"), NONE)
    assert set(found) == {MCPServer("a", "connected"), MCPServer("b", "failed"), MCPServer("c", progress.MISSING)}
    said = progress.servers_failed(found)
    assert said is not None
    assert "b: failed" in said
    assert "c: missing" in said
    assert "a:" not in said


def test_servers_are_pending_before_the_cli_has_said_a_word() -> None:
    names = ["a", "a", "x" * 500, *(f"s{n}" for n in range(100))]
    found = progress.pending(names)
    assert found[:2] == (MCPServer("a", "pending"), MCPServer("x" * progress.MAX_NAME, "pending"))
    assert len(found) == progress.MAX_SERVERS
    assert progress.servers_failed(found) is None


def test_servers_that_started_need_no_word() -> None:
    assert progress.servers_failed(progress.mcp_servers(lines(init(server("a", "connected"))), ("a",), NONE)) is None


@pytest.mark.parametrize(
    "output",
    [
        b"",
        b"not json\n",
        lines(init())[:-1],  # still being written
        lines({"type": "assistant", "mcp_servers": [server("a", "failed")]}),
        lines({"type": "system", "subtype": "init", "mcp_servers": "x"}),
        b'{"type":"system","subtype":"init","mcp_servers":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
    ],
)
def test_before_and_without_such_an_event_nothing_is_known(output: bytes) -> None:
    assert progress.mcp_servers(output, (), NONE) == ()


def test_only_what_the_fields_can_have_is_taken() -> None:
    entries = [server("a", {"deep": 1}), server(["x"], "failed"), server("", "failed"), server("b", "x y"), 7, None]
    assert progress.mcp_servers(lines(init(*entries, server("c", "failed"))), (), NONE) == (MCPServer("c", "failed"),)


def test_the_first_event_counts_and_lists_are_bounded() -> None:
    many = [server(f"s{n}" + "x" * 500, "failed") for n in range(200)]
    found = progress.mcp_servers(lines(init(*many), init(server("later", "failed"))), (), NONE)
    assert len(found) == progress.MAX_SERVERS
    assert all(len(each.name) == progress.MAX_NAME for each in found)


def test_a_secret_in_a_name_is_masked() -> None:
    found = progress.mcp_servers(lines(init(server("key-hunter22", "failed"))), (), Secrets(["hunter22"]))
    assert found == (MCPServer("key-***", "failed"),)


def test_a_request_that_is_tried_again() -> None:
    output = lines(init(), retry(attempt=1), retry(attempt=2))
    assert progress.retry(output) == Retry(401, "authentication_failed", 10)


@pytest.mark.parametrize(
    "output",
    [
        b"",
        lines(init()),
        lines(retry(), {"type": "assistant"}),
        lines(retry())[:-1],
        lines({"type": "assistant", "text": '"api_retry"'}),
        b"[" * 2_000_000 + b"\n",
    ],
)
def test_no_request_is_tried_again(output: bytes) -> None:
    assert progress.retry(output) is None


@pytest.mark.parametrize(
    ("event", "found"),
    [
        (retry(error_status=None, error="unknown"), Retry(None, "unknown", 10)),
        (retry(error_status=True, error=["x"], max_retries=-1), Retry(None, "unknown", 0)),
        (retry(error_status=10**30, error="\x1b[31m", max_retries=10**9), Retry(None, "unknown", 0)),
        (retry(error="x" * 100), Retry(401, "unknown", 10)),
    ],
)
def test_words_of_a_retry_are_bounded(event: dict[str, Any], found: Retry) -> None:
    assert progress.retry(lines(event)) == found


@pytest.mark.parametrize(
    ("failing", "said"),
    [
        (None, "the agent is at work"),
        (Retry(401, "authentication_failed", 10), "answers 401 (authentication_failed)"),
        (Retry(401, "authentication_failed", 10), "credentials of the AgentPolicy"),
        (Retry(529, "overloaded", 10), "answers 529 (overloaded); the CLI tries again, at most 10 times"),
        (Retry(None, "unknown", 10), "cannot be reached"),
    ],
)
def test_what_the_status_says(failing: Retry | None, said: str) -> None:
    assert said in progress.at_work(failing)


def test_the_message_is_the_same_for_each_retry_of_one_kind() -> None:
    """Each change of it is a write to the API server."""
    said = {progress.at_work(progress.retry(lines(retry(attempt=n, retry_delay_ms=n)))) for n in range(1, 11)}
    assert len(said) == 1


@given(st.floats(min_value=0, max_value=1e7))
def test_looks_become_rarer(spent: float) -> None:
    assert progress.FIRST_CHECK <= progress.next_check(spent) <= progress.LAST_CHECK
    assert progress.next_check(spent) <= progress.next_check(spent + 1)


@given(st.binary(max_size=300), st.sampled_from([b'{"mcp_servers"', b'{"type":"system","subtype":"api_retry"']))
def test_no_output_breaks_it(noise: bytes, start: bytes) -> None:
    for output in (noise, start + noise + b"\n", noise + b"\n" + start + noise + b"\n"):
        progress.mcp_servers(output, ("a",), NONE)
        progress.retry(output)
