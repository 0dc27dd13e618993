"""Which variables a spec may set, through every door that it has."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from stromboli import naming
from stromboli.attempt import supervisor
from stromboli.errors import Refused
from stromboli.plan import request, variables
from stromboli.reasons import Reason
from tests.support.builders import effective, policy, spec

UNDER = effective(policy(env=[{"name": "HTTPS_PROXY", "value": "http://proxy"}]))


def _server(env: dict[str, object]) -> dict[str, object]:
    return {"mcpServers": {"bell": {"command": "bell", "env": env}}}


# Each door: the fields of a spec that sets variables through it, and the field that a refusal names.
DOORS: dict[str, Any] = {
    "env": (lambda env: {"env": [{"name": n, "value": v} for n, v in env.items()]}, "spec.env[0]"),
    "settings": (lambda env: {"claude": {"settings": {"env": env}}}, "spec.claude.settings.env"),
    "settings as a string": (
        lambda env: {"claude": {"settings": json.dumps({"env": env})}},
        "spec.claude.settings.env",
    ),
    "mcpConfigs": (
        lambda env: {"claude": {"mcpConfigs": ["/etc/mcp.json", _server(env)]}},
        "spec.claude.mcpConfigs[1].mcpServers.bell.env",
    ),
    "mcpConfigs as a string": (
        lambda env: {"claude": {"mcpConfigs": [json.dumps(_server(env))]}},
        "spec.claude.mcpConfigs[0].mcpServers.bell.env",
    ),
    "agents": (
        lambda env: {"claude": {"agents": {"critic": {"mcpServers": ["known", {"bell": {"env": env}}]}}}},
        "spec.claude.agents.critic.mcpServers[1].bell.env",
    ),
    "agents as a string": (
        lambda env: {"claude": {"agents": json.dumps({"critic": {"mcpServers": [{"bell": {"env": env}}]}})}},
        "spec.claude.agents.critic.mcpServers[0].bell.env",
    ),
}


def _refusal(env: dict[str, object], door: str) -> Refused:
    with pytest.raises(Refused) as refused:
        request.build(spec(**DOORS[door][0](env)), UNDER)
    return refused.value


@pytest.mark.parametrize("door", DOORS)
def test_the_administrators_variables_are_kept_at_every_door(door: str) -> None:
    refusal = _refusal({"HTTPS_PROXY": "http://mine"}, door)
    assert refusal.reason is Reason.PolicyViolation
    assert refusal.message == f"{DOORS[door][1]}: HTTPS_PROXY is set by a policy and cannot be changed; leave it out"


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", ["LD_PRELOAD", "NODE_OPTIONS", "BUN_OPTIONS", "BUN_INSPECT_PRELOAD", "BUN_JSC_useJIT"])
def test_no_door_sets_what_loads_code(name: str, door: str) -> None:
    refusal = _refusal({name: "x"}, door)
    assert refusal.reason is Reason.InvalidSpec
    assert refusal.message.startswith(f"{DOORS[door][1]}: {name} changes which code")


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", ["PATH", "CLAUDE_CONFIG_DIR", "STROMBOLI_ENV"])
def test_no_door_sets_what_is_the_operators(name: str, door: str) -> None:
    refusal = _refusal({name: "x"}, door)
    assert refusal.reason is Reason.InvalidSpec
    assert refusal.message.startswith(f"{DOORS[door][1]}: {name} is set by the operator")


def test_no_variable_has_a_name_of_the_supervisors() -> None:
    text = supervisor.script()
    names = {f"_{name}" for name in re.findall(r"\b_([a-z]\w*)=", text)} | {"_secret_0", "_secret_99"}
    assert {"_plan", "_cause", "_root"} <= names
    for name in names:
        refusal = _refusal({name: "x"}, "env")
        assert refusal.reason is Reason.InvalidSpec
        assert refusal.message.startswith(f"spec.env[0]: {name} begins with _ and a lower-case letter")
    request.build(
        spec(env=[{"name": name, "value": "x"} for name in ("_JAVA_OPTIONS", "_", "__x", "a_b", "_1")]), UNDER
    )


@pytest.mark.parametrize("door", DOORS)
def test_whatever_else_may_be_set_and_the_policys_own_value_too(door: str) -> None:
    request.build(spec(**DOORS[door][0]({"HTTPS_PROXY": "http://proxy", "DATABASE_URL": "x"})), UNDER)


@pytest.mark.parametrize(
    "document",
    [{"env": None}, {"env": ["NODE_OPTIONS"]}, {"env": "NODE_OPTIONS=x"}, {"NODE_OPTIONS": "x"}, {"deny": ["env"]}],
)
def test_only_an_object_named_env_sets_variables(document: dict[str, Any]) -> None:
    request.build(spec(claude={"settings": document}), UNDER)


@pytest.mark.parametrize("value", [0, True, None, ["x"], {"a": "b"}])
def test_a_value_of_another_type_is_another_value(value: object) -> None:
    assert _refusal({"HTTPS_PROXY": value}, "settings").reason is Reason.PolicyViolation


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("NODE_OPTIONS=--inspect-brk", ("NODE_OPTIONS",)),
        ("NODE_OPTIONS=--max-old-space-size=4096 --require=/x.js", ("NODE_OPTIONS",)),
        ("NODE_OPTIONS=-r /x.js", ("NODE_OPTIONS",)),
        ("NODE_OPTIONS=--max-old-space-size=4096  --openssl-legacy-provider", ()),
        ("NODE_OPTIONS=", ()),
        ("BUN_OPTIONS=--preload /x.js", ("BUN_OPTIONS",)),
        ("BUN_OPTIONS=", ("BUN_OPTIONS",)),
        ("BUN_INSPECT=ws://localhost:6499/?wait=1", ("BUN_INSPECT",)),
        ("BUN_JSC_useJIT=0", ("BUN_JSC_useJIT",)),
        ("BUN_INSTALL=/usr/local", ()),
        ("NODE_ENV=production", ()),
        ("LD_PRELOAD=/usr/lib/libjemalloc.so.2", ()),
        ("LD_LIBRARY_PATH=/opt/lib", ()),
        ("LANG=C.UTF-8", ()),
        ("NODE_EXTRA_CA_CERTS=/etc/ssl/corp.pem", ()),
        ("BUN_OPTIONS", ("BUN_OPTIONS",)),
    ],
)
def test_what_of_an_image_the_cli_is_spared(entry: str, expected: tuple[str, ...]) -> None:
    assert variables.withheld(["PATH=/bin", entry]) == expected


@pytest.mark.parametrize(
    "name",
    [*naming.LOADER_ENV, "LD_PRELOAD", "LD_", "LD_AUDIT", "BASH_FUNC_ls%%", "BUN_INSPECT_PRELOAD", "BUN_JSC_useJIT"],
)
def test_variables_that_load_code(name: str) -> None:
    assert variables.loads_code(name)


@pytest.mark.parametrize(
    "name",
    ["LD", "OLD_PATH", "ENVIRONMENT", "ENV_", "ld_preload", "BASH_ENVX", "NODE_OPTION", "BUN_INSTALL", "NODE_ENV"],
)
def test_variables_that_only_look_like_it(name: str) -> None:
    assert not variables.loads_code(name)
