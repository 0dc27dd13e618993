"""`POST /run`, `POST /run/async` and the streams: what is asked for, and what is answered.

What the fields mean for an AgentRun is in translate/.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, JsonValue

from stromboli.httpapi.errors import invalid
from stromboli.httpapi.shapes import base
from stromboli.httpapi.shapes.base import AnswerShape, Flag, RequestShape, Text, Texts, null_is_empty, unless_empty

RunStatus = Literal["completed", "crashed", "error"]

_SESSION_ID = "550e8400-e29b-41d4-a716-446655440000"
_RUN_ID = "run-3f9c2b7a41d0"


def _not_below_zero(value: float | int | None) -> float | int | None:
    if value is not None and value < 0:
        raise ValueError("is below zero; write a number above zero, or leave it out")
    return value


Count = Annotated[int | None, AfterValidator(_not_below_zero), unless_empty]
Dollars = Annotated[float | None, AfterValidator(_not_below_zero), unless_empty]


class ClaudeOptions(RequestShape):
    """Options of the Claude CLI."""

    session_id: Text = Field(
        None,
        description="The session: a new one's name, or with `resume` that of an existing one.",
        examples=[_SESSION_ID],
    )
    resume: Flag = Field(False, description="Continue the session that `session_id` names.")
    continue_: Flag = Field(
        False, alias="continue", description="Continue the session of the namespace that was used last."
    )
    fork_session: Flag = Field(False, description="Continue a copy of the session, under an ID of its own.")
    no_persistence: Flag = Field(False, description="Keep no session.")
    model: Text = Field(None, description="Model: an alias such as `sonnet`, or a full name.", examples=["sonnet"])
    fallback_model: Text = Field(None, description="Models to fall back to, separated by commas.", examples=["haiku"])
    system_prompt: Text = Field(
        None, description="Replaces the default system prompt.", examples=["You review Go code."]
    )
    append_system_prompt: Text = Field(
        None, description="Added to the end of the default system prompt.", examples=["Be brief."]
    )
    tools: Texts = Field(
        None,
        description='Built-in tools that exist for the agent; `["default"]` is all of them, `[""]` none.',
        examples=[["Bash", "Read"]],
    )
    allowed_tools: Texts = Field(
        None, description="Tools that may be used without asking.", examples=[["Bash(git *)", "Read"]]
    )
    disallowed_tools: Texts = Field(None, description="Tools that may not be used.", examples=[["Write"]])
    permission_mode: Text = Field(None, description="How permissions are decided.", examples=["acceptEdits"])
    dangerously_skip_permissions: Flag = Field(False, description="Skip every permission check.")
    allow_dangerously_skip_permissions: Flag = Field(
        False, description="Accepted, and without effect: nobody can switch to another mode while a run is on."
    )
    input_format: Text = Field(None, description="`text` only: a call has one prompt.", examples=["text"])
    output_format: Text = Field(
        None,
        description="What `output` is: the agent's last message (`text`, the default), the CLI's result event "
        "(`json`), or all of the CLI's lines (`stream-json`).",
        examples=["json"],
    )
    include_partial_messages: Flag = Field(False, description="Include partial messages in the CLI's lines.")
    replay_user_messages: Flag = Field(False, description="Refused: it needs `stream-json` as `input_format`.")
    json_schema: Text = Field(
        None, description="JSON Schema of `structured_output`, as a string.", examples=['{"type": "object"}']
    )
    max_budget_usd: Dollars = Field(None, description="Maximum amount in US dollars.", examples=[5.0])
    max_turns: Count = Field(None, description="Maximum number of turns.", examples=[20])
    mcp_configs: Texts = Field(
        None,
        description="MCP server configurations: strings that hold JSON, or paths of files in the container.",
        examples=[["/workspace/mcp.json"]],
    )
    strict_mcp_config: Flag = Field(False, description="Use only the servers of `mcp_configs`.")
    agent: Text = Field(None, description="Agent for this conversation.", examples=["reviewer"])
    agents: Annotated[dict[str, JsonValue] | None, unless_empty] = Field(
        None,
        description="Custom agents by name.",
        examples=[{"reviewer": {"description": "Reviews code", "prompt": "You review code."}}],
    )
    add_dirs: Texts = Field(
        None, description="More folders of the container that tools may reach.", examples=[["/data"]]
    )
    plugin_dirs: Texts = Field(
        None, description="Folders of the container to load plugins from.", examples=[["/plugins"]]
    )
    files: Texts = Field(
        None,
        description="Refused: files of the Claude API cannot be given to a run; mount them with `podman.volumes`.",
        examples=[["file_abc:/workspace/doc.txt"]],
    )
    settings: Text = Field(
        None,
        description="More settings: a string that holds JSON, or the path of a file in the container.",
        examples=["/workspace/settings.json"],
    )
    setting_sources: Texts = Field(
        None, description='Which settings files are read; `[""]` is none.', examples=[["user", "project"]]
    )
    betas: Texts = Field(
        None, description="Beta headers of API requests.", examples=[["interleaved-thinking-2025-05-14"]]
    )
    verbose: Flag = Field(False, description="Accepted, and without effect: the CLI is always verbose.")
    debug: Text = Field(
        None,
        description="Write debug messages, of all categories, to the run's standard error.",
        examples=["api,hooks"],
    )
    disable_slash_commands: Flag = Field(False, description="Turn all skills off.")
    effort: Text = Field(None, description="Effort of the model.", examples=["high"])


class Lifecycle(RequestShape):
    """Commands that run in the container before the agent."""

    on_create_command: Texts = Field(
        None,
        description="Run once in a session, when its container is created.",
        examples=[["pip install -r requirements.txt"]],
    )
    post_create: Texts = Field(
        None, description="Run once in a session, after `on_create_command`.", examples=[["npm run setup"]]
    )
    post_start: Texts = Field(
        None, description="Run on every run, before the agent.", examples=[["redis-server --daemonize yes"]]
    )
    hooks_timeout: Text = Field(None, description="Time limit of all of them together.", examples=["5m"])


class Environment(RequestShape):
    """A stack of services, of which one is the agent's. An empty `type` means that there is none."""

    type: Text = Field(None, description="`compose`, or empty for none.", examples=["compose"])
    path: Text = Field(None, description="The compose file, on the node.", examples=["/srv/project/docker-compose.yml"])
    service: Text = Field(None, description="The service in which the agent runs.", examples=["dev"])
    build_timeout: Text = Field(None, description="Time limit for building images.", examples=["15m"])


class PodmanOptions(RequestShape):
    """Options of the run's container."""

    image: Text = Field(None, description="Image to run in; a policy may have a default.", examples=["python:3.12"])
    volumes: Texts = Field(
        None,
        description="Folders of the node to mount, `host:container[:ro|rw]`, if a policy allows them.",
        examples=[["/srv/code:/workspace"]],
    )
    secrets_env: Annotated[dict[str, str] | None, unless_empty] = Field(
        None,
        description="Variables with the value of a secret of `/secrets`: the variable's name and the secret's.",
        examples=[{"GH_TOKEN": "github-token"}],
    )
    timeout: Text = Field(None, description="Time limit (default: the policy's, or 30m).", examples=["10m"])
    memory: Text = Field(None, description="Memory limit as Podman writes it: `512m` is 512 MiB.", examples=["512m"])
    cpus: Text = Field(None, description="CPU limit, as a string.", examples=["0.5"])
    cpu_shares: Count = Field(None, description="Relative weight when CPUs are scarce (default 1024).", examples=[512])
    lifecycle: Annotated[Lifecycle, null_is_empty(Lifecycle)] = Field(
        default_factory=Lifecycle, description="Commands before the agent.", examples=[{"post_start": ["make deps"]}]
    )
    environment: Annotated[Environment, null_is_empty(Environment)] = Field(
        default_factory=Environment,
        description="A stack of services, instead of `image`.",
        examples=[{"type": "compose", "path": "/srv/project/docker-compose.yml", "service": "dev"}],
    )


def _not_blank(prompt: str) -> str:
    if not prompt.strip():
        raise ValueError("is empty; write what the agent should do")
    return prompt


class RunRequest(RequestShape):
    """A prompt, and how and where it is to be run."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"prompt": "Run the tests", "podman": {"image": "python:3.12"}}}
    )

    prompt: Annotated[str, AfterValidator(_not_blank)] = Field(
        json_schema_extra={"pattern": r"\S"}, description="What the agent is to do.", examples=["Run the tests"]
    )
    workdir: Text = Field(
        None, description="Working directory in the container; it is created if missing.", examples=["/workspace"]
    )
    workspace: Text = Field(None, description="An older name of `workdir`.", examples=["/workspace"])
    webhook_url: Text = Field(
        None,
        description="Where the outcome is posted; for `POST /run/async` only.",
        examples=["https://example.com/hook"],
    )
    claude: Annotated[ClaudeOptions, null_is_empty(ClaudeOptions)] = Field(
        default_factory=ClaudeOptions, description="Options of the Claude CLI.", examples=[{"model": "sonnet"}]
    )
    podman: Annotated[PodmanOptions, null_is_empty(PodmanOptions)] = Field(
        default_factory=PodmanOptions, description="Options of the container.", examples=[{"image": "python:3.12"}]
    )


def parse_run(body: bytes, *, webhook: bool = False) -> RunRequest:
    """The request in a body; `webhook` says whether the call may have a webhook. Raises Refusal."""
    request = checked(base.parse(body, RunRequest))
    if request.webhook_url is not None and not webhook:
        raise invalid("webhook_url", "is for POST /run/async only: this call waits for the outcome; leave it out")
    return request


def checked(request: RunRequest) -> RunRequest:
    """The request, if its fields agree with each other. Raises Refusal."""
    if request.workdir is not None and request.workspace not in (None, request.workdir):
        raise invalid("workspace", "is an older name of workdir, which says something else; leave it out")
    return request


class Usage(AnswerShape):
    """What the run used in all its attempts, as counted by the CLI."""

    model: str | None = Field(None, description="The model that was used most.")
    input_tokens: int = Field(0, description="Input tokens.")
    output_tokens: int = Field(0, description="Output tokens.")
    cache_creation_input_tokens: int = Field(0, description="Tokens written to the cache.")
    cache_read_input_tokens: int = Field(0, description="Tokens read from the cache.")
    total_tokens: int = Field(0, description="All of them together.")
    estimated_cost_usd: float = Field(0, description="Cost in US dollars, as the CLI estimates it.")


class CrashInfo(AnswerShape):
    """How the agent was ended before it was done."""

    exit_code: int | None = Field(None, description="Exit code of the container.")
    signal: str | None = Field(None, description="The signal that ended it, if its exit code says so.")
    reason: str = Field(description="The AgentRun's reason: `OutOfMemory`, `ContainerLost` or another one.")
    partial_output: str | None = Field(None, description="What the agent had said.")
    task_completed: bool = Field(False, description="Whether the agent had come to its end before that.")


class RunAnswer(AnswerShape):
    """How a run ended."""

    id: str = Field(description="The AgentRun's name.", examples=[_RUN_ID])
    status: RunStatus = Field(description="`completed`, `crashed` if it was killed or lost, otherwise `error`.")
    output: str | None = Field(None, description="What the agent said, in the form of `claude.output_format`.")
    structured_output: Any = Field(None, description="The answer in the form of `claude.json_schema`.")
    error: str | None = Field(None, description="Why it did not complete.")
    session_id: str | None = Field(
        None, description="The session, to continue it with `claude.resume`.", examples=[_SESSION_ID]
    )
    usage: Usage | None = Field(None, description="Tokens and cost; absent if the CLI did not say.")
    crash_info: CrashInfo | None = Field(None, description="Only with `crashed`.")


class AsyncAnswer(AnswerShape):
    """A run that has been accepted."""

    job_id: str = Field(description="The AgentRun's name, for `GET /jobs/{id}`.", examples=[_RUN_ID])
    session_id: str | None = Field(
        None, description="The session, to continue it with `claude.resume`.", examples=[_SESSION_ID]
    )
