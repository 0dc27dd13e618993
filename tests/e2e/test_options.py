"""Every option of `spec.claude`: the real CLI accepts it, and its API requests show the effect."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.operator import Standin
from tests.support.runs import Object, Runs, condition
from tests.support.waiting import eventually

# An MCP server with one tool, over stdio.
MCP_SERVER = """\
import json, sys
for line in sys.stdin:
    ask = json.loads(line)
    if ask.get("method") == "initialize":
        result = {"protocolVersion": ask["params"]["protocolVersion"], "capabilities": {"tools": {}}}
        result["serverInfo"] = {"name": "bell", "version": "1"}
    elif ask.get("method") == "tools/list":
        result = {"tools": [{"name": "ring", "description": "rings", "inputSchema": {"type": "object"}}]}
    else:
        result = {}
    if "id" in ask:
        print(json.dumps({"jsonrpc": "2.0", "id": ask["id"], "result": result}), flush=True)
"""
SCHEMA = {  # in a dialect that the CLI does not accept unchanged
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "score": {"type": ["number", "null"]},
        "tags": {"type": "array", "prefixItems": [{"$ref": "#/$defs/none"}]},
    },
    "$defs": {"none": {"type": "null"}},
    "required": ["name", "score"],
}
SKIP = {"dangerouslySkipPermissions": True}

CASES: dict[str, dict[str, Any]] = {
    "everything": {
        "prompt": "everything ECHO{taken}",
        "claude": {
            "model": "sonnet",
            "fallbackModel": "haiku",
            "systemPrompt": "You are Quirin.\nSecond line: 'quoted', \"doubly\", $HOME, ünïcödé.",
            "appendSystemPrompt": "And you whistle.",
            "tools": ["Bash", "Read", "Edit"],
            "allowedTools": ["Bash(git *)", "Read"],
            "disallowedTools": ["Edit"],
            "permissionMode": "acceptEdits",
            "maxTurns": 7,
            "maxBudgetUSD": 2.5,
            "mcpConfigs": [{"mcpServers": {"bell": {"command": "python3", "args": ["-c", MCP_SERVER]}}}],
            "strictMcpConfig": True,
            "agents": {"reviewer": {"description": "reviews", "prompt": "You are the reviewer."}},
            "addDirs": ["/tmp", "/with space, comma"],
            "pluginDirs": ["/tmp/no plugins, here"],
            "settings": {"env": {"FROM_SETTINGS": "yes"}},
            "settingSources": ["user", "project"],
            "betas": ["context-1m-2025-08-07", "interleaved-thinking-2025-05-14"],
            "effort": "low",
            "disableSlashCommands": True,
            "includePartialMessages": True,
            "debug": True,
        },
    },
    "agent": {
        "prompt": "agent ECHO{done}",
        "claude": {"agent": "critic", "agents": '{"critic": {"description": "d", "prompt": "You are the critic."}}'},
    },
    "no-tools": {"prompt": "no-tools ECHO{done}", "claude": {"tools": []}},
    "no-sources": {"prompt": "no-sources ECHO{done}", "claude": {"settingSources": [], "strictMcpConfig": True}},
    "allowed-tool": {
        "prompt": "BASH{printf 'a  b'}",
        "claude": {"allowedTools": ["Bash(git *)", "Bash(printf *)"]},
    },
    "tool-not-allowed": {
        "prompt": "BASH{mkdir /tmp/made && echo was made}",
        "claude": {"allowedTools": ["Bash(git *)"]},
    },
    "added-dir": {
        "prompt": "BASH{mkdir -v /etc/made}",
        "workdir": "/workspace",
        "claude": {"addDirs": ["/etc"], "permissionMode": "acceptEdits"},
    },
    "dir-not-added": {
        "prompt": "BASH{mkdir -v /etc/made}",
        "workdir": "/workspace",
        "claude": {"permissionMode": "acceptEdits"},
    },
    "disallowed-tool": {
        "prompt": "disallowed-tool ECHO{done}",
        "claude": {
            "disallowedTools": ["Bash", "Edit"],
            "mcpConfigs": [{"mcpServers": {"gone": {"command": "/no/such/server"}}}],
        },
    },
    "settings": {
        "prompt": "BASH{printenv FROM_SETTINGS}",
        "claude": {"settings": {"env": {"FROM_SETTINGS": "from the document"}}, **SKIP},
    },
    "skipping": {"prompt": 'BASH{echo "$(id -u) $IS_SANDBOX $((6 * 7))"}', "claude": SKIP},
    "bypassing": {"prompt": "BASH{echo $IS_SANDBOX}", "claude": {"permissionMode": "bypassPermissions"}},
    "bypassing-by-settings": {
        "prompt": "BASH{echo $IS_SANDBOX}",
        "claude": {"settings": {"permissions": {"defaultMode": "bypassPermissions"}}},
    },
    "not-skipping": {"prompt": "BASH{printenv | sort}", "claude": {"allowedTools": ["Bash"]}},
    "turns": {"prompt": "LOOP{true}", "claude": {"maxTurns": 2, **SKIP}},
    "budget": {"prompt": "LOOP{true}", "claude": {"maxBudgetUSD": 0.000001, **SKIP}},
    "schema": {
        "prompt": 'JSON{"name": "Zoë", "score": null, "tags": [null, 1.5, {"deep": null}]}',
        "claude": {"jsonSchema": SCHEMA},
    },
    "list-schema": {
        "prompt": "never sent",
        "claude": {"jsonSchema": {"type": "array", "items": {"type": "string"}}},
    },
    "no-schema": {
        "prompt": "hello",
        "claude": {"jsonSchema": {"type": "object", "properties": {"a": {"type": "nix"}}}},
    },
    "broken-json": {"prompt": "hello", "claude": {"settings": '{"env": '}},
    "listed-agents": {"prompt": "hello", "claude": {"agents": ["a", "b"]}},
}


@pytest.fixture(scope="module")
def ended(spaces: Callable[..., Runs], python_image: str) -> dict[str, Object]:
    """All cases, run concurrently."""
    return spaces("options").run_all({n: {"image": python_image, **spec} for n, spec in CASES.items()}, within=240)


def completed(run: Object) -> str:
    """The result text of a run, which has to have completed."""
    assert condition(run)["reason"] == "Completed", condition(run)["message"]
    return str(run["status"]["result"]["text"])


def asked(standin: Standin, prompt: str) -> list[dict[str, Any]]:
    """The API requests for a prompt, oldest first."""
    found = [r for r in standin.requests() if prompt in r["user_texts"]]
    assert found, f"no request for {prompt!r}"
    return found


def test_every_option_at_once(ended: dict[str, Object], standin: Standin, folder: Path) -> None:
    run, claude = ended["everything"], CASES["everything"]["claude"]
    assert completed(run) == "taken"
    request = asked(standin, CASES["everything"]["prompt"])[-1]
    assert request["model"].startswith("claude-sonnet")
    assert claude["systemPrompt"] in request["system"]
    assert claude["appendSystemPrompt"] in request["system"]
    assert {"Bash", "Read", "mcp__bell__ring"} <= set(request["tools"])
    assert not {"Edit", "Write", "WebSearch"} & set(request["tools"])
    assert request["effort"] == "low"
    assert set(claude["betas"]) <= set(request["betas"])
    out = folder / "home/sessions" / run["metadata"]["uid"] / "attempts" / f"{run['metadata']['uid']}-1" / "out"
    assert '"type":"stream_event"' in (out / "stdout").read_text()
    assert "[DEBUG]" in run["status"]["steps"][-1]["tail"]


def test_mcp_servers_and_how_they_fared(ended: dict[str, Object]) -> None:
    assert ended["everything"]["status"]["mcpServers"] == [{"name": "bell", "status": "connected"}]
    assert ended["disallowed-tool"]["status"]["mcpServers"] == [{"name": "gone", "status": "failed"}]


def test_an_agent_of_its_own(ended: dict[str, Object], standin: Standin) -> None:
    assert completed(ended["agent"]) == "done"
    assert "You are the critic." in asked(standin, CASES["agent"]["prompt"])[-1]["system"]


def test_an_empty_list_of_tools_means_none(ended: dict[str, Object], standin: Standin) -> None:
    assert completed(ended["no-tools"]) == "done"
    assert asked(standin, CASES["no-tools"]["prompt"])[-1]["tools"] == []


def test_an_empty_list_of_setting_sources(ended: dict[str, Object]) -> None:
    assert completed(ended["no-sources"]) == "done"


def test_the_fallback_model(
    spaces: Callable[..., Runs], policy: dict[str, Any], standin: Standin, python_image: str
) -> None:
    space, prompt = spaces("fallback", own=True), "fallback STATUS{529,opus} ECHO{from the other}"
    space.policy("retrying", **with_retries(policy, 3))
    claude = {"model": "opus", "fallbackModel": "haiku"}
    assert completed(space.run("overloaded", prompt=prompt, image=python_image, claude=claude)) == "from the other"
    models = [r["model"] for r in asked(standin, prompt)]
    assert "opus" in models[0]
    assert "haiku" in models[-1]


def test_requests_that_are_tried_again_are_said(
    spaces: Callable[..., Runs], policy: dict[str, Any], python_image: str
) -> None:
    space = spaces("retries", own=True)
    space.policy("retrying", **with_retries(policy, 10))
    space.apply("unauthorized", prompt="STATUS{401}", image=python_image)
    space.until("unauthorized", lambda run: "the Claude API answers 401" in condition(run).get("message", ""))

    def warnings() -> list[str]:
        return [event["type"] for event in space.events("unauthorized") if event["reason"] == "RequestsFail"]

    eventually(lambda: warnings() == ["Warning"], "one Warning about it", warnings)
    space.delete("unauthorized")


def with_retries(policy: dict[str, Any], retries: int) -> dict[str, Any]:
    """A policy's spec that sets how often the CLI retries, for a namespace of the test's own."""
    name = "CLAUDE_CODE_MAX_RETRIES"
    env = [v if v["name"] != name else {**v, "value": str(retries)} for v in policy["spec"]["env"]]
    return {k: v for k, v in policy["spec"].items() if k != "namespaceSelector"} | {"env": env}


def test_tools_are_allowed_by_rule(ended: dict[str, Object], standin: Standin) -> None:
    assert "a  b" in completed(ended["allowed-tool"])
    assert "was made" not in completed(ended["tool-not-allowed"])
    assert completed(ended["disallowed-tool"]) == "done"
    tools = asked(standin, CASES["disallowed-tool"]["prompt"])[-1]["tools"]
    assert "Read" in tools
    assert not {"Bash", "Edit"} & set(tools)


def test_folders_are_added(ended: dict[str, Object]) -> None:
    assert "created directory" in completed(ended["added-dir"])
    assert "created directory" not in completed(ended["dir-not-added"])


def test_settings_as_a_document(ended: dict[str, Object]) -> None:
    assert "from the document" in completed(ended["settings"])


def test_permissions_skipped_as_root(ended: dict[str, Object]) -> None:
    assert "0 1 42" in completed(ended["skipping"])
    assert completed(ended["bypassing"]).endswith("1")
    assert completed(ended["bypassing-by-settings"]).endswith("1")
    assert "CLAUDE_CONFIG_DIR" in completed(ended["not-skipping"])
    assert "IS_SANDBOX" not in completed(ended["not-skipping"])


def test_limits_that_are_reached(ended: dict[str, Object]) -> None:
    turns, budget = ended["turns"], ended["budget"]
    assert condition(turns)["reason"] == "MaxTurnsReached"
    assert "claude.maxTurns" in condition(turns)["message"]
    assert "maximum number of turns (2)" in condition(turns)["message"]
    assert condition(budget)["reason"] == "BudgetExceeded"
    assert "claude.maxBudgetUSD" in condition(budget)["message"]
    for run in (turns, budget):
        assert condition(run)["status"] == "False"
        assert run["status"]["usage"]["turns"] >= 1
        assert run["status"]["usage"]["costUSD"] > 0


def test_a_structured_answer_arrives_whole(ended: dict[str, Object]) -> None:
    completed(ended["schema"])
    structured = ended["schema"]["status"]["result"]["structured"]
    assert structured == {"name": "Zoë", "score": None, "tags": [None, 1.5, {"deep": None}]}


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("list-schema", "spec.claude.jsonSchema: describes no object, which the answer always is"),
        ("no-schema", "spec.claude.jsonSchema: is not a JSON Schema at $.properties.a.type"),
        ("broken-json", "spec.claude.settings: is a string but not JSON"),
        ("listed-agents", "spec.claude.agents: is not an object"),
    ],
)
def test_documents_that_are_none_are_refused(ended: dict[str, Object], case: str, said: str) -> None:
    assert condition(ended[case])["reason"] == "InvalidSpec"
    assert said in condition(ended[case])["message"]
    assert "attempts" not in ended[case]["status"]
