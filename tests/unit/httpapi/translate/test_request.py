"""httpapi/translate/request.py: each field of a request in the AgentRun, and what is refused by the request's names."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given

from stromboli.httpapi.errors import Refusal
from stromboli.httpapi.shapes.run import ClaudeOptions, RunRequest, parse_run
from stromboli.httpapi.translate import request as translate
from stromboli.models.agentrun import AgentRunSpec
from stromboli.models.claude import ClaudeOptions as RunOptions
from tests.support.http_requests import OPTIONS, TRANSLATED, bodies, singles


def asked(**fields: Any) -> RunRequest:
    return parse_run(json.dumps({"prompt": "x", **fields}).encode(), webhook=True)


def made(session: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    """The spec of the AgentRun, without the prompt."""
    found = translate.manifest(asked(**fields), name="run-1", namespace="team", session=session)
    assert AgentRunSpec.model_validate(found["spec"])
    spec: dict[str, Any] = found["spec"]
    assert spec.pop("prompt") == "x" or "prompt" in fields
    return spec


def refused(session: dict[str, str] | None = None, **fields: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        translate.manifest(asked(**fields), name="run-1", namespace="team", session=session)
    return caught.value


def test_a_whole_object() -> None:
    found = translate.manifest(
        asked(podman={"image": "python:3.12"}),
        name="run-1",
        namespace="team",
        session={"name": "s"},
        annotations={"stromboli.dev/request-hash": "ab"},
    )
    assert found == {
        "apiVersion": "stromboli.dev/v1alpha1",
        "kind": "AgentRun",
        "metadata": {"name": "run-1", "namespace": "team", "annotations": {"stromboli.dev/request-hash": "ab"}},
        "spec": {"prompt": "x", "image": "python:3.12", "session": {"name": "s"}},
    }


@pytest.mark.parametrize(("fields", "spec"), TRANSLATED)
def test_each_field_has_its_place(fields: dict[str, Any], spec: dict[str, Any]) -> None:
    assert made(**fields) == spec


def test_where_a_webhook_may_be_is_up_to_the_policies() -> None:
    for url in ("http://127.0.0.1:9000/hook", "https://[fd00::1]/hook"):
        assert made(webhook_url=url)["notify"]["url"] == url


@pytest.mark.parametrize(("claude", "options"), OPTIONS)
def test_each_option_of_the_cli_has_its_place(claude: dict[str, Any], options: dict[str, Any]) -> None:
    assert made(claude=claude) == ({"claude": options} if options else {})


def test_no_option_is_forgotten() -> None:
    tried = {name for given_, _ in OPTIONS for name in given_} | {"files", "replay_user_messages"}
    assert tried == {field.alias or name for name, field in ClaudeOptions.model_fields.items()}


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"prompt": "a\0b"}, "prompt", "has a NUL character"),
    ({"prompt": "x" * 1_048_577}, "prompt", "at most 1048576 characters"),
    ({"workdir": "w"}, "workdir", "is relative"),
    ({"workspace": "/a/../b"}, "workspace", "has a .. in it"),
    ({"webhook_url": "ftp://example.com"}, "webhook_url", "does not begin with https://"),
    ({"webhook_url": "https://user:word@example.com"}, "webhook_url", "has a user name or a password"),
    ({"podman": {"image": "Not An Image"}}, "podman.image", "is not an image reference"),
    ({"podman": {"image": "docker://a"}}, "podman.image", "is not an image reference"),
    ({"podman": {"volumes": ["/a:/b", "/a:b"]}}, "podman.volumes[1]", "is not an absolute path"),
    ({"podman": {"volumes": ["/a:/b:z"]}}, "podman.volumes[0]", "is not host:container[:ro|rw]"),
    ({"podman": {"volumes": [""]}}, "podman.volumes[0]", "at least 3 characters"),
    ({"podman": {"volumes": ["/a:/proc"]}}, "podman.volumes[0]", "nothing can be mounted at /proc"),
    ({"podman": {"volumes": ["/a:/b", "/c:/b"]}}, "podman.volumes[1]", "is mounted twice"),
    ({"podman": {"secrets_env": {"1A": "s"}}}, "podman.secrets_env.1A", "is not a name"),
    ({"podman": {"secrets_env": {"A": "s", "PATH": "s"}}}, "podman.secrets_env.PATH", "is set by the operator"),
    ({"podman": {"secrets_env": {"LD_PRELOAD": "s"}}}, "podman.secrets_env.LD_PRELOAD", "changes which code"),
    ({"podman": {"secrets_env": {"A": "a/b"}}}, "podman.secrets_env.A", "is not the name of a secret"),
    ({"podman": {"secrets_env": {"A": ""}}}, "podman.secrets_env.A", "is not the name of a secret"),
    ({"podman": {"timeout": "5"}}, "podman.timeout", "write 5s for seconds or 5m for minutes"),
    ({"podman": {"memory": "512Mi"}}, "podman.memory", "write 512m"),
    ({"podman": {"memory": "1k"}}, "podman.memory", "is less than the 6m"),
    ({"podman": {"cpus": "500m"}}, "podman.cpus", "write 2 or 0.5"),
    ({"podman": {"cpu_shares": 1}}, "podman.cpu_shares", "greater than or equal to 2"),
    ({"podman": {"lifecycle": {"hooks_timeout": "soon"}}}, "podman.lifecycle.hooks_timeout", "is not a duration"),
    ({"podman": {"lifecycle": {"post_start": ["a", " "]}}}, "podman.lifecycle.post_start[1]", "is blank"),
    ({"podman": {"environment": {"type": "docker"}}}, "podman.environment.type", "'docker' is not known"),
    ({"podman": {"environment": {"type": "compose"}}}, "podman.environment.path", "is missing"),
    ({"podman": {"environment": {"path": "/c.yml"}}}, "podman.environment.type", "is missing; write compose"),
    ({"podman": {"environment": {"type": "compose", "path": "c.yml"}}}, "podman.environment.path", "is relative"),
    (
        {"podman": {"environment": {"type": "compose", "path": "/c.yml", "service": "a b"}}},
        "podman.environment.service",
        "'a b' is not the name of a service",
    ),
    (
        {"podman": {"environment": {"type": "compose", "path": "/c.yml", "build_timeout": "x"}}},
        "podman.environment.build_timeout",
        "is not a duration",
    ),
    (
        {"podman": {"image": "a", "environment": {"type": "compose", "path": "/c.yml"}}},
        "podman.image",
        "the agent runs in a service of the environment",
    ),
    ({"claude": {"permission_mode": "delegate"}}, "claude.permission_mode", "'acceptEdits', 'auto'"),
    ({"claude": {"effort": "huge"}}, "claude.effort", "'low', 'medium'"),
    ({"claude": {"setting_sources": ["user", "x"]}}, "claude.setting_sources[1]", "'user', 'project' or 'local'"),
    ({"claude": {"max_turns": 1_000_000}}, "claude.max_turns", "less than or equal to 100000"),
    ({"claude": {"max_budget_usd": 1e9}}, "claude.max_budget_usd", "less than or equal to 100000"),
    ({"claude": {"json_schema": "no"}}, "claude.json_schema", "is a string but not JSON"),
    ({"claude": {"json_schema": "[]"}}, "claude.json_schema", "is not an object"),
    ({"claude": {"settings": "settings.json"}}, "claude.settings", "is a string but not JSON"),
    ({"claude": {"settings": '{"env": {"LD_PRELOAD": "x"}}'}}, "claude.settings.env", "changes which code"),
    ({"claude": {"mcp_configs": ["/a", "{"]}}, "claude.mcp_configs[1]", "is a string but not JSON"),
    ({"claude": {"agents": {"a": {"env": {"NODE_OPTIONS": "x"}}}}}, "claude.agents.a.env", "changes which code"),
    ({"claude": {"add_dirs": ["a"]}}, "claude.add_dirs[0]", "is relative"),
    ({"claude": {"plugin_dirs": ["a"]}}, "claude.plugin_dirs[0]", "is relative"),
    ({"claude": {"allowed_tools": ["a\nb"]}}, "claude.allowed_tools[0]", "should match pattern"),
    ({"claude": {"model": "x" * 2000}}, "claude.model", "at most 1024 characters"),
    ({"claude": {"input_format": "stream-json"}}, "claude.input_format", "a call has one prompt"),
    ({"claude": {"input_format": "xml"}}, "claude.input_format", "'xml' is not known"),
    ({"claude": {"output_format": "xml"}}, "claude.output_format", "write text, json or stream-json"),
    ({"claude": {"replay_user_messages": True}}, "claude.replay_user_messages", "a call has one prompt"),
    ({"claude": {"files": ["a:b"]}}, "claude.files", "mount a folder with podman.volumes"),
]


@pytest.mark.parametrize(("fields", "field", "why"), REFUSED, ids=[f"{field}: {why}" for _, field, why in REFUSED])
def test_what_cannot_be_run_is_refused_by_its_name(fields: dict[str, Any], field: str, why: str) -> None:
    problem = refused(**fields)
    assert (problem.status, problem.reason, problem.details) == (400, "InvalidRequest", {"field": field})
    assert problem.error.startswith(f"{field}: ")
    assert why in problem.error
    assert "spec." not in problem.error


@pytest.mark.parametrize(
    ("session", "why"),
    [
        ({"name": "A b"}, "'A b' is not the name of a session"),
        ({"name": "a", "fork": "../b"}, "'../b' is not the name of a session"),
        ({"name": "a", "fork": "a"}, "cannot be a fork of itself"),
    ],
)
def test_a_session_has_a_name(session: dict[str, str], why: str) -> None:
    problem = refused(session)
    assert problem.details == {"field": "claude.session_id"}
    assert why in problem.error


def test_a_session_is_the_callers_choice() -> None:
    assert made({"name": "b", "fork": "a"}) == {"session": {"name": "b", "fork": "a"}}


def test_what_leaves_no_room_for_a_status_is_too_large() -> None:
    assert refused(prompt="é" * 1_000_000).status == 413


def test_the_form_of_the_output() -> None:
    assert [translate.output_format(asked(claude=c)) for c in ({}, {"output_format": "json"})] == ["text", "json"]


# --- whatever a request is, it is an AgentRun that the API takes, or refused with a field that it has ---


def test_every_field_with_every_value_is_a_runs_or_named() -> None:
    for fields in singles():
        check(fields)


@given(bodies())
def test_a_request_is_a_run_or_names_what_is_wrong(fields: dict[str, Any]) -> None:
    check(fields)


def check(fields: dict[str, Any]) -> None:
    try:
        made(**fields)
    except Refusal as e:
        field = e.details["field"]
        within: Any = fields
        for name in re.split(r"[.\[]", field)[:2]:
            assert name in within, e.error  # noqa: PT017
            within = within[name]


def test_options_of_a_run_that_no_request_can_set() -> None:
    """What is added to the CLI's options of a run has a place in a request, or is listed here."""
    settable = {name for name in RunOptions.model_fields if name in ClaudeOptions.model_fields}
    assert set(RunOptions.model_fields) - settable == set()
