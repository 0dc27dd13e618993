"""Turns `spec.claude` into the CLI's argv and the files that it refers to. Pure.

Long or private values are passed in files: the prompt on standard input; system prompts, settings, agents and
MCP configurations as files of plan/, so that none of them appears in a process list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

from pydantic import JsonValue

from stromboli.models.claude import ClaudeOptions
from stromboli.naming import PLAN
from stromboli.plan import documents

# (flag, file name, text) → the arguments: none if there is no text
InFile = Callable[[str, str, str | None], list[str]]


def build(program: str, options: ClaudeOptions) -> tuple[tuple[str, ...], dict[str, bytes]]:
    """argv for `program` and the files (name → content) that it names under /run/stromboli/plan.

    The supervisor adds the options for the conversation, after the program's name.
    """
    files: dict[str, bytes] = {}

    def in_file(flag: str, name: str, text: str | None) -> list[str]:
        if text is None:
            return []
        files[name] = text.encode()
        return [flag, f"{PLAN}/{name}"]

    argv = [program, "--print", "--output-format", "stream-json", "--verbose"]
    argv += _values(options)
    argv += in_file("--system-prompt-file", "system-prompt", options.system_prompt)
    argv += in_file("--append-system-prompt-file", "append-system-prompt", options.append_system_prompt)
    argv += _document(options.settings, "--settings", "settings.json", in_file)
    argv += _document(options.agents, "--agents", "agents.json", in_file)
    for number, config in enumerate(options.mcp_configs or []):
        argv += _document(config, "--mcp-config", f"mcp-{number}.json", in_file)
    argv += _switches(options)
    return tuple(argv), files


def _values(options: ClaudeOptions) -> list[str]:
    argv = []
    single = (
        ("--model", options.model),
        ("--fallback-model", options.fallback_model),
        ("--permission-mode", options.permission_mode),
        ("--max-turns", options.max_turns),
        ("--max-budget-usd", options.max_budget_usd),
        ("--json-schema", None if options.json_schema is None else documents.text(options.json_schema)),
        ("--agent", options.agent),
        ("--effort", options.effort),
    )
    for flag, value in single:
        if value is not None:
            argv += [flag, _text(value)]
    many = (
        ("--tools", options.tools),
        ("--allowedTools", options.allowed_tools),
        ("--disallowedTools", options.disallowed_tools),
    )
    for flag, values in many:
        argv += _list(flag, values)
    more = (("--betas", options.betas), ("--add-dir", options.add_dirs), ("--plugin-dir", options.plugin_dirs))
    for flag, values in more:
        argv += [f"{flag}={value}" for value in values or []]
    if options.setting_sources is not None:
        argv.append("--setting-sources=" + ",".join(options.setting_sources))
    return argv


def _list(flag: str, values: Iterable[str] | None) -> list[str]:
    """A list option. The flag is repeated for each value, since the CLI's `<tools...>` would swallow what follows."""
    if values is None:
        return []
    items = list(values)
    return [f"{flag}={item}" for item in items] if items else [f"{flag}="]


def _switches(options: ClaudeOptions) -> list[str]:
    switches = (
        ("--dangerously-skip-permissions", options.dangerously_skip_permissions),
        ("--strict-mcp-config", options.strict_mcp_config),
        ("--disable-slash-commands", options.disable_slash_commands),
        ("--include-partial-messages", options.include_partial_messages),
        # Without the second, the CLI's messages go to a file beside the conversation (seen: 2.1.331).
        ("--debug", options.debug),
        ("--debug-to-stderr", options.debug),
    )
    return [flag for flag, on in switches if on]


def _document(value: JsonValue | None, flag: str, name: str, in_file: InFile) -> list[str]:
    """A document is passed in a file; a string that is a path in the container is passed as it is."""
    if documents.is_path(value):
        return [flag, value]
    return in_file(flag, name, None if value is None else documents.text(value))


def _text(value: object) -> str:
    """A number in plain notation: no exponent, no trailing zeros, and never rounded to 0, which is not allowed."""
    if not isinstance(value, float):
        return str(value)
    digits = f"{Decimal(repr(value)):f}"
    return digits.rstrip("0").rstrip(".") if "." in digits else digits
