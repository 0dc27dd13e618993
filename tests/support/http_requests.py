"""Requests to run for tests: each field with what becomes of it, and any combination of sound and odd values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from stromboli.httpapi.shapes.run import ClaudeOptions, PodmanOptions, RunRequest

SECRET = {"secretKeyRef": {"name": "github-token", "key": "value"}}
TRANSLATED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"claude": {}, "podman": {"lifecycle": {}, "environment": {"type": ""}}}, {}),
    ({"workdir": "/w"}, {"workdir": "/w"}),
    ({"workspace": "/w"}, {"workdir": "/w"}),
    ({"workdir": "/w", "workspace": "/w"}, {"workdir": "/w"}),
    ({"podman": {"image": "python:3.12"}}, {"image": "python:3.12"}),
    ({"podman": {"volumes": ["/a:/b", "/c:/d:ro"]}}, {"volumes": ["/a:/b", "/c:/d:ro"]}),
    ({"podman": {"secrets_env": {"GH_TOKEN": "github-token"}}}, {"env": [{"name": "GH_TOKEN", "valueFrom": SECRET}]}),
    ({"podman": {"timeout": "5m"}}, {"timeout": "5m"}),
    ({"podman": {"timeout": "0"}}, {}),
    (
        {"podman": {"memory": "512m", "cpus": "0.5", "cpu_shares": 512}},
        {"resources": {"memory": "512Mi", "cpus": "0.5", "cpuShares": 512}},
    ),
    ({"podman": {"memory": "0", "cpus": "0", "cpu_shares": 0}}, {}),
    (
        {
            "podman": {
                "lifecycle": {
                    "on_create_command": ["a"],
                    "post_create": ["b"],
                    "post_start": ["c"],
                    "hooks_timeout": "90s",
                }
            }
        },
        {"lifecycle": {"onCreateCommand": ["a"], "postCreate": ["b"], "postStart": ["c"], "hooksTimeout": "90s"}},
    ),
    (
        {"podman": {"environment": {"type": "compose", "path": "/c.yml", "service": "dev", "build_timeout": "15m"}}},
        {"environment": {"type": "compose", "path": "/c.yml", "service": "dev"}},
    ),
    (
        {"podman": {"environment": {"type": "compose", "path": "/c.yml"}}},
        {"environment": {"type": "compose", "path": "/c.yml"}},
    ),
    (
        {"webhook_url": "https://example.com/hook"},
        {
            "notify": {
                "url": "https://example.com/hook",
                "secretKeyRef": {"name": "stromboli-webhook", "key": "secret", "optional": True},
            }
        },
    ),
]
OPTIONS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"model": "sonnet", "fallback_model": "haiku"}, {"model": "sonnet", "fallbackModel": "haiku"}),
    ({"system_prompt": "a", "append_system_prompt": "b"}, {"systemPrompt": "a", "appendSystemPrompt": "b"}),
    ({"tools": ["Bash"]}, {"tools": ["Bash"]}),
    ({"tools": ["default"]}, {"tools": ["default"]}),
    ({"tools": [""]}, {"tools": []}),
    ({"tools": []}, {}),
    ({"allowed_tools": ["Bash(git *)"]}, {"allowedTools": ["Bash(git *)"]}),
    ({"disallowed_tools": ["Write"]}, {"disallowedTools": ["Write"]}),
    ({"permission_mode": "bypassPermissions"}, {"permissionMode": "bypassPermissions"}),
    ({"dangerously_skip_permissions": True}, {"dangerouslySkipPermissions": True}),
    ({"include_partial_messages": True}, {"includePartialMessages": True}),
    ({"json_schema": '{"type": "object"}'}, {"jsonSchema": '{"type": "object"}'}),
    ({"max_budget_usd": 5, "max_turns": 3}, {"maxBudgetUSD": 5.0, "maxTurns": 3}),
    ({"max_budget_usd": 0, "max_turns": 0}, {}),
    ({"mcp_configs": ["/mcp.json", '{"mcpServers": {}}']}, {"mcpConfigs": ["/mcp.json", '{"mcpServers": {}}']}),
    ({"strict_mcp_config": True}, {"strictMcpConfig": True}),
    ({"agent": "a", "agents": {"a": {"prompt": "x"}}}, {"agent": "a", "agents": {"a": {"prompt": "x"}}}),
    ({"add_dirs": ["/a"], "plugin_dirs": ["/b"]}, {"addDirs": ["/a"], "pluginDirs": ["/b"]}),
    ({"settings": "/s.json"}, {"settings": "/s.json"}),
    ({"settings": '{"env": {"A": "b"}}'}, {"settings": '{"env": {"A": "b"}}'}),
    ({"setting_sources": ["user"]}, {"settingSources": ["user"]}),
    ({"setting_sources": [""]}, {"settingSources": []}),
    (
        {"betas": ["b"], "disable_slash_commands": True, "effort": "high"},
        {"betas": ["b"], "disableSlashCommands": True, "effort": "high"},
    ),
    ({"debug": "api,hooks"}, {"debug": True}),
    ({"verbose": True, "input_format": "text", "output_format": "stream-json"}, {}),
    ({"allow_dangerously_skip_permissions": True}, {}),
    ({"session_id": "s", "resume": True, "continue": True, "fork_session": True, "no_persistence": True}, {}),
]

_WORDS = (
    *(
        "",
        "sonnet",
        "plan",
        "high",
        "json",
        "text",
        "/a",
        "{}",
        "x y",
        "a\nb",
        "é",
        "5m",
        "512m",
        "2",
        "a\0b",
        "-x",
        "A",
    ),
    *("/a/../b", "/a/b/", "//a", "..", "https://example.com/a?b=c", "http://[::1]:1/", "https://é", "1.5g", "0.0005"),
    *('{"mcpServers": {}}', '{"env": {"A": "b"}}', "user", "x" * 300, "x" * 5000, "a:b:c", "ghcr.io/a/b:c", "a@b"),
)
_word = st.sampled_from(_WORDS)
_words = st.lists(_word, max_size=3)
_VOLUMES = ("/a:/b", "/a:/c:ro", "/a/:/d/", "a:b", "/a:/sys", "/a:/run", "/a:/b:z", "/a b:/é", "/a/..:/b", "")
_VARIABLES = ("A", "B_c", "PATH", "1", "_a", "", "A B", "LD_X", "STROMBOLI_A", "a" * 257)
_ENVIRONMENT = {"type": st.sampled_from(["", "compose"]), "path": _word, "service": _word, "build_timeout": _word}
# By path, what each field may be.
_FIELDS: dict[tuple[str, ...], st.SearchStrategy[Any]] = {
    ("workdir",): _word,
    ("workspace",): _word,
    ("webhook_url",): _word,
    ("podman", "image"): _word,
    ("podman", "volumes"): st.lists(st.sampled_from(_VOLUMES), max_size=3),
    ("podman", "secrets_env"): st.dictionaries(st.sampled_from(_VARIABLES), _word, max_size=3),
    ("podman", "timeout"): _word,
    ("podman", "memory"): _word,
    ("podman", "cpus"): _word,
    ("podman", "cpu_shares"): st.integers(0, 300_000),
    ("podman", "lifecycle"): st.fixed_dictionaries({}, optional={"post_start": _words, "hooks_timeout": _word}),
    ("podman", "environment"): st.fixed_dictionaries({}, optional=_ENVIRONMENT),
    ("claude", "max_turns"): st.integers(0, 200_000),
    ("claude", "max_budget_usd"): st.floats(0, 200_000),
    ("claude", "agents"): st.dictionaries(_word, st.dictionaries(_word, _word, max_size=2), max_size=2),
    **{
        ("claude", field.alias or name): (
            st.booleans() if "bool" in str(field.annotation) else _words if "list" in str(field.annotation) else _word
        )
        for name, field in ClaudeOptions.model_fields.items()
        if not re.search("int|float|dict", str(field.annotation))
    },
}


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    """A body with a few fields: each more makes it less likely that all of them are sound."""
    body: dict[str, Any] = {"prompt": "x"}
    for path in draw(st.lists(st.sampled_from(list(_FIELDS)), max_size=4, unique=True)):
        into = body
        for part in path[:-1]:
            into = into.setdefault(part, {})
        into[path[-1]] = draw(_FIELDS[path])
    return body


def singles() -> Iterator[dict[str, Any]]:
    """Bodies with one field each, which has each of the values in turn."""
    for shape, inside in ((RunRequest, None), (ClaudeOptions, "claude"), (PodmanOptions, "podman")):
        for name, field in shape.model_fields.items():
            for value in _values(name, str(field.annotation)):
                own = {field.alias or name: value}
                yield {"prompt": "x", **(own if inside is None else {inside: own})}


def _values(name: str, annotation: str) -> Iterator[Any]:
    match name:
        case "volumes":
            yield from ([volume] for volume in _VOLUMES)
        case "secrets_env":
            yield from ({variable: "a"} for variable in _VARIABLES)
            yield from ({"A": word} for word in _WORDS)
        case "lifecycle":
            yield from ({"post_start": [word]} for word in _WORDS)
            yield from ({"hooks_timeout": word} for word in _WORDS)
        case "environment":
            whole = {"type": "compose", "path": "/a", "service": "a"}
            yield from ({**whole, part: word} for part in (*whole, "build_timeout") for word in _WORDS)
        case "agents":
            yield from ({word: {"prompt": "x"}} for word in _WORDS)
        case "cpu_shares" | "max_turns":
            yield from (0, 1, 2, 100_000, 100_001, 262_144, 262_145)
        case "max_budget_usd":
            yield from (0, 1e-9, 100_000, 100_000.5)
        case _ if "list" in annotation:
            yield from ([word] for word in _WORDS)
            yield [word for word in _WORDS if word] * 20
        case _ if "bool" in annotation:
            yield True
        case _ if "str" in annotation:
            yield from _WORDS
