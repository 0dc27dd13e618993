"""Each option of the CLI, as it is written and as it is passed on.

What the flags do was tried with the real CLI (2.1.331) against the stand-in: `--tools=A --tools=B` adds up, `--tools=`
means none, rules with spaces and commas stay whole, `--setting-sources=` reads no file, `--debug` alone writes nothing
to standard error.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.models.claude import ClaudeOptions, Effort, PermissionMode, SettingSource
from stromboli.naming import PLAN
from stromboli.plan import argv
from tests.support.builders import claude

PROGRAM = "/opt/claude/bin/claude"
FIXED = [PROGRAM, "--print", "--output-format", "stream-json", "--verbose"]

# field → (value as written, what is added to argv, files by name)
Row = tuple[Any, list[str], dict[str, bytes]]
ROWS: dict[str, Row] = {
    "model": ("sonnet", ["--model", "sonnet"], {}),
    "fallbackModel": ("haiku,sonnet", ["--fallback-model", "haiku,sonnet"], {}),
    "systemPrompt": (
        "be brief",
        ["--system-prompt-file", f"{PLAN}/system-prompt"],
        {"system-prompt": b"be brief"},
    ),
    "appendSystemPrompt": (
        "and käse",
        ["--append-system-prompt-file", f"{PLAN}/append-system-prompt"],
        {"append-system-prompt": "and käse".encode()},
    ),
    "tools": (["Bash", "Read"], ["--tools=Bash", "--tools=Read"], {}),
    "allowedTools": (["Bash(git *)", "Read"], ["--allowedTools=Bash(git *)", "--allowedTools=Read"], {}),
    "disallowedTools": (["Bash(rm:*, x)"], ["--disallowedTools=Bash(rm:*, x)"], {}),
    "permissionMode": ("acceptEdits", ["--permission-mode", "acceptEdits"], {}),
    "dangerouslySkipPermissions": (True, ["--dangerously-skip-permissions"], {}),
    "maxTurns": (7, ["--max-turns", "7"], {}),
    "maxBudgetUSD": (0.25, ["--max-budget-usd", "0.25"], {}),
    "jsonSchema": ({"type": "object"}, ["--json-schema", '{"type": "object"}'], {}),
    "mcpConfigs": (
        [{"mcpServers": {}}, "/etc/mcp.json"],
        ["--mcp-config", f"{PLAN}/mcp-0.json", "--mcp-config", "/etc/mcp.json"],
        {"mcp-0.json": b'{"mcpServers": {}}'},
    ),
    "strictMcpConfig": (True, ["--strict-mcp-config"], {}),
    "agent": ("reviewer", ["--agent", "reviewer"], {}),
    "agents": (
        {"r": {"prompt": "x"}},
        ["--agents", f"{PLAN}/agents.json"],
        {"agents.json": b'{"r": {"prompt": "x"}}'},
    ),
    "addDirs": (["/a b", "/c"], ["--add-dir=/a b", "--add-dir=/c"], {}),
    "pluginDirs": (["/p"], ["--plugin-dir=/p"], {}),
    "settings": (
        {"env": {"A": "é"}},
        ["--settings", f"{PLAN}/settings.json"],
        {"settings.json": '{"env": {"A": "é"}}'.encode()},
    ),
    "settingSources": (["user", "local"], ["--setting-sources=user,local"], {}),
    "betas": (["context-1m-2025-08-07"], ["--betas=context-1m-2025-08-07"], {}),
    "effort": ("xhigh", ["--effort", "xhigh"], {}),
    "disableSlashCommands": (True, ["--disable-slash-commands"], {}),
    "includePartialMessages": (True, ["--include-partial-messages"], {}),
    "debug": (True, ["--debug", "--debug-to-stderr"], {}),
}
# DESIGN §1, `claude{…}`: the contract's own list.
CONTRACT = """
    model, fallbackModel, systemPrompt, appendSystemPrompt, tools, allowedTools, disallowedTools, permissionMode,
    dangerouslySkipPermissions, maxTurns, maxBudgetUSD, jsonSchema, mcpConfigs, strictMcpConfig, agent, agents, addDirs,
    pluginDirs, settings, settingSources, betas, effort, disableSlashCommands, includePartialMessages, debug
"""


def _built(options: ClaudeOptions) -> tuple[list[str], dict[str, bytes]]:
    words, files = argv.build(PROGRAM, options)
    return list(words), files


def _added(**fields: Any) -> list[str]:
    words, _ = _built(claude(**fields))
    assert words[: len(FIXED)] == FIXED
    return words[len(FIXED) :]


def test_each_field_has_a_row_and_is_in_the_contract() -> None:
    fields = {f.alias for f in ClaudeOptions.model_fields.values()}
    assert fields == set(ROWS)
    assert fields == {name.strip() for name in CONTRACT.split(",")}


@pytest.mark.parametrize("field", ROWS)
def test_each_field_becomes_exactly_its_flag(field: str) -> None:
    value, added, files = ROWS[field]
    assert _built(claude(**{field: value})) == (FIXED + added, files)


def test_no_option_is_no_flag() -> None:
    assert _built(claude()) == (FIXED, {})


def test_switches_that_are_off_are_no_flags() -> None:
    off = {name: False for name, (value, _, _) in ROWS.items() if value is True}
    assert len(off) == 5
    assert _added(**off) == []


def test_all_options_together_are_each_option_alone() -> None:
    words, files = _built(claude(**{name: value for name, (value, _, _) in ROWS.items()}))
    flags = words[len(FIXED) :]
    for _, added, _ in ROWS.values():
        assert any(flags[at : at + len(added)] == added for at in range(len(flags))), added
    assert len(flags) == sum(len(added) for _, added, _ in ROWS.values())
    assert set(files) == {name for _, _, made in ROWS.values() for name in made}


@pytest.mark.parametrize(
    ("field", "flag"),
    [("tools", "--tools="), ("allowedTools", "--allowedTools="), ("settingSources", "--setting-sources=")],
)
def test_an_empty_list_means_none(field: str, flag: str) -> None:
    assert _added(**{field: []}) == [flag]


@pytest.mark.parametrize("field", ["addDirs", "pluginDirs", "mcpConfigs", "betas"])
def test_an_empty_list_of_more_is_no_flag(field: str) -> None:
    assert _added(**{field: []}) == []


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (1, "1"),
        (100.0, "100"),
        (100000, "100000"),
        (0.5, "0.5"),
        (10.10, "10.1"),
        (1e-7, "0.0000001"),
        (0.1 + 0.2, "0.30000000000000004"),
        (12345.678901, "12345.678901"),
    ],
)
def test_amounts_have_no_exponent_and_are_not_rounded(amount: float, text: str) -> None:
    assert _added(maxBudgetUSD=amount) == ["--max-budget-usd", text]


@given(st.floats(min_value=0, max_value=100000, exclude_min=True))
def test_any_amount_comes_out_as_it_went_in(amount: float) -> None:
    _, text = _added(maxBudgetUSD=amount)
    assert float(text) == amount
    assert set(text) <= set("0123456789.")


@pytest.mark.parametrize("mode", PermissionMode)
def test_each_permission_mode(mode: PermissionMode) -> None:
    assert _added(permissionMode=mode.value) == ["--permission-mode", mode.value]


@pytest.mark.parametrize("effort", Effort)
def test_each_effort(effort: Effort) -> None:
    assert _added(effort=effort.value) == ["--effort", effort.value]


def test_each_setting_source() -> None:
    assert _added(settingSources=[s.value for s in SettingSource]) == ["--setting-sources=user,project,local"]


@pytest.mark.parametrize("field", ["jsonSchema", "agents", "settings"])
def test_a_document_may_be_written_as_json(field: str) -> None:
    text = '{ "a":  1 }'
    words, files = _built(claude(**{field: text}))
    assert text in words or list(files.values()) == [text.encode()]


def test_settings_may_be_a_file_of_the_container() -> None:
    assert _built(claude(settings="/etc/claude.json")) == ([*FIXED, "--settings", "/etc/claude.json"], {})


def test_mcp_files_are_numbered_by_their_place() -> None:
    _, files = _built(claude(mcpConfigs=[{"a": 1}, "/x", {"b": 2}]))
    assert set(files) == {"mcp-0.json", "mcp-2.json"}


# --- what must not stand in a process list ---

# Begins with what no flag or path has in it, so that only the secret itself can be found.
SECRET = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40).map("§{}".format)


@given(secret=SECRET)
def test_nothing_private_stands_in_argv(secret: str) -> None:
    words, files = _built(
        claude(
            systemPrompt=f"a {secret}",
            appendSystemPrompt=f"b {secret}",
            settings={"env": {"TOKEN": f"c {secret}"}},
            agents={"x": {"prompt": f"d {secret}"}},
            mcpConfigs=[{"mcpServers": {"s": {"env": {"T": f"e {secret}"}}}}],
        )
    )
    assert not any(secret in word for word in words)
    assert files["system-prompt"].decode() == f"a {secret}"
    assert json.loads(files["settings.json"]) == {"env": {"TOKEN": f"c {secret}"}}
    assert json.loads(files["mcp-0.json"])["mcpServers"]["s"]["env"]["T"] == f"e {secret}"


@given(
    rules=st.lists(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=20), min_size=1)
)
def test_each_rule_is_one_word_that_begins_with_its_flag(rules: list[str]) -> None:
    """So none of them can be read as a flag of its own, whatever it begins with."""
    assert _added(allowedTools=rules) == [f"--allowedTools={rule}" for rule in rules]
