"""`spec.claude`: one typed field for each option of the Claude CLI that a run may set.

plan/argv.py has the flag for each. JSON documents (`jsonSchema`, `settings`, `agents`,
`mcpConfigs`) may be written as YAML or as a string that holds JSON.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, JsonValue, StringConstraints

from stromboli.models.base import NO_NUL, Model, Text, Word, rules, without_nul
from stromboli.models.fields import MaxBudget, MaxTurns

# Free-form documents: the schema accepts any content, and the operator checks it when the run starts.
_DOCUMENT = {"x-kubernetes-preserve-unknown-fields": True}
Document = Annotated[JsonValue, Field(json_schema_extra=_DOCUMENT)]
# Tool rules may contain spaces and commas inside parentheses (`Bash(git *)`), but no line breaks.
ToolRule = Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f]+$")]
_RELATIVE = "is relative; write an absolute path of the container such as /workspace"


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(_RELATIVE)
    return path


ContainerPath = Annotated[
    str,
    Field(min_length=1, max_length=4096, json_schema_extra=rules(("self.startsWith('/')", _RELATIVE), NO_NUL)),
    AfterValidator(_absolute),
    without_nul,
]


class PermissionMode(StrEnum):
    """The CLI's own choices for `--permission-mode`; it takes `default` for `manual`."""

    acceptEdits = "acceptEdits"
    auto = "auto"
    bypassPermissions = "bypassPermissions"
    default = "default"
    manual = "manual"
    dontAsk = "dontAsk"
    plan = "plan"


class Effort(StrEnum):
    """The CLI's own choices for `--effort`."""

    low = "low"
    medium = "medium"
    high = "high"
    xhigh = "xhigh"
    max = "max"


class SettingSource(StrEnum):
    """The CLI's own choices for `--setting-sources`."""

    user = "user"
    project = "project"
    local = "local"


class ClaudeOptions(Model):
    """Options of the Claude CLI."""

    model: Word | None = Field(None, description="Model: an alias such as `sonnet`, or a full name.")
    fallback_model: Word | None = Field(None, description="Models to fall back to, separated by commas.")
    system_prompt: Text | None = Field(None, description="Replaces the default system prompt.")
    append_system_prompt: Text | None = Field(None, description="Added to the end of the default system prompt.")
    tools: Annotated[list[ToolRule], Field(max_length=256)] | None = Field(
        None, description="Built-in tools that exist for the agent; an empty list means none."
    )
    allowed_tools: Annotated[list[ToolRule], Field(max_length=256)] | None = Field(
        None, description="Tools that may be used without asking, such as `Bash(git *)`."
    )
    disallowed_tools: Annotated[list[ToolRule], Field(max_length=256)] | None = Field(
        None, description="Tools that may not be used."
    )
    permission_mode: PermissionMode | None = Field(None, description="How permissions are decided.")
    dangerously_skip_permissions: bool = Field(False, description="Skip every permission check.")
    max_turns: MaxTurns | None = Field(None, description="Maximum number of turns that the agent may take.")
    max_budget_usd: MaxBudget | None = Field(
        None, alias="maxBudgetUSD", description="Maximum amount in US dollars that the agent may spend on API calls."
    )
    json_schema: Document | None = Field(
        None, description="JSON Schema of the answer, which is stored in `status.result.structured`."
    )
    mcp_configs: Annotated[list[Document], Field(max_length=32)] | None = Field(
        None, description="MCP server configurations: documents, or paths of files inside the container."
    )
    strict_mcp_config: bool = Field(False, description="Use only the servers of `mcpConfigs`.")
    agent: Word | None = Field(None, description="Agent for this conversation.")
    agents: Document | None = Field(None, description="Custom agents by name.")
    add_dirs: Annotated[list[ContainerPath], Field(max_length=64)] | None = Field(
        None, description="More folders of the container that tools may reach."
    )
    plugin_dirs: Annotated[list[ContainerPath], Field(max_length=64)] | None = Field(
        None, description="Folders of the container to load plugins from."
    )
    settings: Document | None = Field(
        None, description="More settings: a document, or the path of a file inside the container."
    )
    setting_sources: Annotated[list[SettingSource], Field(max_length=3)] | None = Field(
        None, description="Which settings files are read; an empty list means none."
    )
    betas: Annotated[list[ToolRule], Field(max_length=32)] | None = Field(
        None, description="Beta headers of API requests."
    )
    effort: Effort | None = Field(None, description="Effort of the model.")
    disable_slash_commands: bool = Field(False, description="Turn all skills off.")
    include_partial_messages: bool = Field(False, description="Include partial messages in the output.")
    debug: bool = Field(False, description="Write debug messages to the run's standard error.")
