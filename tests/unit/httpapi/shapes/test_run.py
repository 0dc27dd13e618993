"""httpapi/shapes/run.py: which bodies are requests, and how each of the others is refused."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from stromboli.httpapi.errors import Refusal
from stromboli.httpapi.shapes.base import path
from stromboli.httpapi.shapes.run import ClaudeOptions, RunAnswer, RunRequest, Usage, parse_run

CLAUDE = {
    "session_id": "550e8400-e29b-41d4-a716-446655440000",
    "resume": True,
    "continue": True,
    "fork_session": True,
    "no_persistence": True,
    "model": "sonnet",
    "fallback_model": "haiku",
    "system_prompt": "a",
    "append_system_prompt": "b",
    "tools": ["Bash"],
    "allowed_tools": ["Bash(git *)"],
    "disallowed_tools": ["Write"],
    "permission_mode": "plan",
    "dangerously_skip_permissions": True,
    "allow_dangerously_skip_permissions": True,
    "input_format": "text",
    "output_format": "json",
    "include_partial_messages": True,
    "replay_user_messages": True,
    "json_schema": "{}",
    "max_budget_usd": 5,
    "max_turns": 3,
    "mcp_configs": ["/mcp.json"],
    "strict_mcp_config": True,
    "agent": "reviewer",
    "agents": {"reviewer": {"prompt": "x"}},
    "add_dirs": ["/data"],
    "plugin_dirs": ["/plugins"],
    "files": ["a:b"],
    "settings": "{}",
    "setting_sources": ["user"],
    "betas": ["x"],
    "verbose": True,
    "debug": "api",
    "disable_slash_commands": True,
    "effort": "high",
}
PODMAN = {
    "image": "python:3.12",
    "volumes": ["/srv:/srv"],
    "secrets_env": {"GH_TOKEN": "github-token"},
    "timeout": "5m",
    "memory": "512m",
    "cpus": "1",
    "cpu_shares": 512,
    "lifecycle": {"on_create_command": ["a"], "post_create": ["b"], "post_start": ["c"], "hooks_timeout": "5m"},
    "environment": {"type": "compose", "path": "/srv/c.yml", "service": "dev", "build_timeout": "9m"},
}
WHOLE = {
    "prompt": "Run the tests",
    "workdir": "/workspace",
    "workspace": "/workspace",
    "webhook_url": "https://example.com/hook",
    "claude": CLAUDE,
    "podman": PODMAN,
}


def parsed(document: object, **how: bool) -> RunRequest:
    return parse_run(json.dumps(document).encode(), **how)


def answered(body: bytes) -> int:
    """The status of a refusal; 200 for a request."""
    try:
        parse_run(body)
    except Refusal as e:
        return e.status
    return 200


def refused(body: bytes, status: int = 400) -> Refusal:
    with pytest.raises(Refusal) as caught:
        parse_run(body)
    assert caught.value.status == status
    return caught.value


def test_every_field_of_the_table_is_read() -> None:
    request = parsed(WHOLE, webhook=True)
    assert request.model_dump(by_alias=True) == WHOLE
    assert len(ClaudeOptions.model_fields) == len(CLAUDE)


# What Go's encoding/json makes of structs without a pointer, what a form's zero values are, and null.
EMPTY: list[dict[str, Any]] = [
    {"claude": {}, "podman": {"environment": {}, "lifecycle": {}}},
    {"claude": None, "podman": None},
    {"podman": {"environment": None, "lifecycle": None}},
    {"podman": {"environment": {"type": "", "path": "", "service": "", "build_timeout": ""}}},
    {"podman": {"lifecycle": {"on_create_command": None, "post_create": [], "hooks_timeout": ""}}},
    {"workdir": "", "workspace": "", "webhook_url": ""},
    {"claude": {"model": "", "tools": None, "max_turns": 0, "max_budget_usd": 0.0, "agents": {}, "debug": ""}},
    {"claude": {"resume": False, "continue": None, "session_id": None, "agents": None}},
    {"podman": {"image": "", "volumes": [], "secrets_env": {}, "cpu_shares": 0, "memory": "", "cpus": None}},
]


@pytest.mark.parametrize("given_", EMPTY)
def test_what_is_empty_is_the_same_as_none(given_: dict[str, Any]) -> None:
    assert parsed({"prompt": "x", **given_}) == parsed({"prompt": "x"})


REFUSED = {
    b'{"prompt": "x", "podman": {"imgae": "a"}}': ("podman.imgae", "did you mean podman.image?"),
    b'{"prompt": "x", "podman": {"lifecycle": {"postStart": []}}}': (
        "podman.lifecycle.postStart",
        "did you mean podman.lifecycle.post_start?",
    ),
    b'{"promt": "x"}': ("promt", "did you mean prompt?"),
    b'{"prompt": "x", "image": "a"}': ("image", "it belongs in podman.image"),
    b'{"prompt": "x", "claude": {"timeout": "5m"}}': ("claude.timeout", "it belongs in podman.timeout"),
    b'{"prompt": "x", "podman": {"environment": {"kind": ""}}}': (
        "podman.environment.kind",
        "which has type, path, service, build_timeout",
    ),
    b'{"prompt": "x", "claude": {"continue_": true}}': ("claude.continue_", "did you mean claude.continue?"),
    b'{"prompt": "x", "\\u001b[31m": 1}': (r"\x1b[31m", "is no field of the request"),
    b"{}": ("prompt", 'is missing; write "Run the tests" for example'),
    b'{"prompt": ""}': ("prompt", "is empty"),
    b'{"prompt": " \\n"}': ("prompt", "is empty"),
    b'{"prompt": null}': ("prompt", "is null and must be a string"),
    b'{"prompt": 1}': ("prompt", "is a number and must be a string"),
    b'{"prompt": "x", "podman": []}': ("podman", "is a list and must be an object"),
    b'{"prompt": "x", "podman": {"cpus": 2}}': ("podman.cpus", 'must be a string; write "0.5" for example'),
    b'{"prompt": "x", "podman": {"cpu_shares": "2"}}': ("podman.cpu_shares", "must be a whole number; write 512"),
    b'{"prompt": "x", "podman": {"cpu_shares": 2.5}}': ("podman.cpu_shares", "must be a whole number"),
    b'{"prompt": "x", "podman": {"cpu_shares": -1}}': ("podman.cpu_shares", "is below zero"),
    b'{"prompt": "x", "podman": {"volumes": "/a:/b"}}': (
        "podman.volumes",
        'is a string and must be a list of strings; write ["/srv/code:/workspace"] for example',
    ),
    b'{"prompt": "x", "podman": {"volumes": ["a", 1]}}': ("podman.volumes[1]", "must be a string"),
    b'{"prompt": "x", "podman": {"secrets_env": {"A": null}}}': ("podman.secrets_env.A", "must be a string"),
    b'{"prompt": "x", "claude": {"resume": "true"}}': ("claude.resume", "must be true or false"),
    b'{"prompt": "x", "claude": {"max_turns": true}}': ("claude.max_turns", "is true and must be a whole number"),
    b'{"prompt": "x", "claude": {"max_budget_usd": "5"}}': ("claude.max_budget_usd", "must be a number; write 5.0"),
    b'{"prompt": "x", "claude": {"agents": []}}': ("claude.agents", "is a list and must be an object"),
    b'{"prompt": "x", "claude": {"json_schema": {}}}': ("claude.json_schema", "is an object and must be a string"),
    b'{"prompt": "x", "webhook_url": "http://a"}': ("webhook_url", "is for POST /run/async only"),
    b'{"prompt": "x", "workdir": "/a", "workspace": "/b"}': ("workspace", "is an older name of workdir"),
    b'{"prompt": "\\ud800"}': ("prompt", "has half of a surrogate pair"),
    b'{"prompt": "x", "claude": {"agents": {"a": [{"\\udc00": 1}]}}}': ("claude.agents.a[0]", "a name in it"),
    b'{"prompt": "x", "prompt": "y"}': ("", "prompt is given twice"),
    b'{"prompt": "x", "claude": {"max_budget_usd": NaN}}': ("", "NaN is JavaScript"),
    b'{"prompt": "x", "claude": {"max_budget_usd": 1e999}}': ("", "is larger than any number"),
    b"": ("", 'the body is empty; send a JSON object, such as {"prompt": "Run the tests"}'),
    b" \n": ("", "the body is empty"),
    b"prompt=x": ("", "the body is not JSON: Expecting value (line 1, column 1)"),
    b'{"prompt": "x"} {}': ("", "the body is not JSON: Extra data"),
    b'\xef\xbb\xbf{"prompt": "x"}': ("", "the body is not JSON"),
    b'{"prompt": "\xff"}': ("", "the body is not UTF-8 (byte 12)"),
    b'["x"]': ("", "the body is a list; send a JSON object"),
    b"null": ("", "the body is null; send a JSON object"),
    b'{"prompt": ' + b"[" * 100 + b"]" * 100 + b"}": ("", "the body is nested too deeply"),
    b'{"prompt": "x", "claude": {"max_turns": ' + b"9" * 5000 + b"}}": ("", "the body is not JSON"),
}


@pytest.mark.parametrize(("body", "wanted"), REFUSED.items())
def test_what_is_refused_names_its_field(body: bytes, wanted: tuple[str, str]) -> None:
    field, words = wanted
    problem = refused(body)
    assert problem.reason == "InvalidRequest"
    assert problem.details == ({"field": field} if field else {})
    assert problem.error.startswith(field)
    assert words in problem.error


def test_an_unknown_field_comes_before_what_is_missing_because_of_it() -> None:
    assert refused(b'{"promt": "x"}').error == "promt: is no field of the request; did you mean prompt? (and 1 more)"


def test_a_long_name_is_shown_in_part() -> None:
    assert len(refused(json.dumps({"prompt": "x", "y" * 10_000: 1}).encode()).error) < 200


MANY = ",".join(f'"{n:05}": 0' for n in range(40_000))


@pytest.mark.parametrize(
    "body",
    [
        f'{{"prompt": "x", {MANY}, "39999": 0}}',
        f'{{"prompt": "x", {MANY}}}',
        f'{{"prompt": "x", "claude": {{{MANY}}}}}',
        '{"prompt": "x", "' + "prompt" * 600_000 + '": 0}',
        '{"prompt": "x", "claude": {"max_turns": "' + "9" * 4_000_000 + '"}}',
        '{"prompt": "x", "claude": {"tools": [' + "0," * 40_000 + "0]}}",
        '{"prompt": "x", "claude": {"agents": {"a": ' + "[" * 60 + "0," * 40_000 + "0" + "]" * 60 + "}}, 0: 0}",
    ],
    ids=range(7),
)
def test_no_body_takes_long_to_refuse(body: str) -> None:
    began = time.process_time()
    assert len(refused(body.encode()).error) < 400
    assert time.process_time() - began < 2


def test_a_body_that_is_too_large_has_a_status_of_its_own() -> None:
    assert refused(b'{"prompt": "' + b"x" * 5_000_000 + b'"}', 413).reason == "RequestEntityTooLarge"


def test_a_webhook_is_for_the_call_that_does_not_wait() -> None:
    assert parsed({"prompt": "x", "webhook_url": "https://a"}, webhook=True).webhook_url == "https://a"


@given(st.binary(max_size=64))
def test_whatever_the_body_is_it_is_read_or_refused(body: bytes) -> None:
    for data in (body, b'{"prompt": "x", "claude": {"agents": ' + body + b"}}"):
        assert answered(data) in (200, 400)


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from([*CLAUDE, "typo"]), _values), st.dictionaries(st.sampled_from([*PODMAN]), _values)
)
def test_whatever_a_field_is_it_is_read_or_refused_by_name(claude: dict[str, Any], podman: dict[str, Any]) -> None:
    body = json.dumps({"prompt": "x", "claude": claude, "podman": podman}).encode()
    if answered(body) != 200:
        assert refused(body).details["field"].split(".")[0] in ("claude", "podman")


SCHEMA = Draft202012Validator(RunRequest.model_json_schema())
_podman = st.dictionaries(st.sampled_from([*PODMAN, "typo"]), _values)


@given(st.dictionaries(st.sampled_from(["claude", "podman", "workdir", "prompt", "typo"]), _values | _podman))
def test_what_the_schema_does_not_allow_is_refused(body: dict[str, Any]) -> None:
    """The OpenAPI document has this schema."""
    if not SCHEMA.is_valid(body):
        refused(json.dumps(body).encode())


@pytest.mark.parametrize("body", [WHOLE, *({"prompt": "x", **each} for each in EMPTY)])
def test_the_schema_allows_what_clients_send(body: dict[str, Any]) -> None:
    SCHEMA.validate(body)


def test_a_path_has_brackets_for_what_is_in_a_list() -> None:
    assert path(("podman", "volumes", 0)) == "podman.volumes[0]"


def test_an_answer_leaves_out_what_is_none_but_not_in_what_the_agent_gave() -> None:
    answer = RunAnswer(id="run-1", status="completed", structured_output={"a": None}, usage=Usage(input_tokens=1))
    wire = json.loads(answer.model_dump_json(exclude_none=True))
    assert wire["structured_output"] == {"a": None}
    assert set(wire) == {"id", "status", "structured_output", "usage"}
