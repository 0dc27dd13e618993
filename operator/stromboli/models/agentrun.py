"""`AgentRun`: one prompt, run once, in one image. Spec and status in API form.

Only rules that a schema can express are here; what depends on other objects (policy, image, Secrets) is checked in
plan/. The spec is immutable, but for what controls a run: models/crd.py generates a rule for each other field.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from stromboli.models.base import (
    NO_NUL,
    OBJECT_NAME_PATTERN,
    KeyRef,
    Model,
    matches,
    rules,
    without_nul,
)
from stromboli.models.claude import ClaudeOptions
from stromboli.models.conditions import Conditions
from stromboli.models.environment import NO_IMAGE_BESIDE, Environment
from stromboli.models.fields import PULL_SECRETS, AbsolutePath, Duration, ImageRef, PullSecrets, Resources, Volumes
from stromboli.models.lifecycle import Lifecycle
from stromboli.models.notify import Notification, Notify
from stromboli.models.sources import TOGETHER, EnvFroms, RunVariable, SecretFiles
from stromboli.reasons import Reason

MAX_PROMPT = 1024 * 1024
MAX_RETRIES = 50
MAX_TTL = 2**31 - 1  # as in a Job


class PromptSource(Model):
    """The source of a prompt that is not written into the run: exactly one of the two."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "has(self.configMapKeyRef) != has(self.secretKeyRef)",
                "give exactly one of configMapKeyRef and secretKeyRef",
            )
        )
    )

    config_map_key_ref: KeyRef | None = Field(None, description="A key of a ConfigMap.")
    secret_key_ref: KeyRef | None = Field(None, description="A key of a Secret.")


SessionName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        json_schema_extra=matches(
            OBJECT_NAME_PATTERN,
            "is not the name of a session: lower case letters, digits, - and . only; a session is always one of the "
            "run's own namespace",
        ),
    ),
]


class SessionChoice(Model):
    """The session that the run continues."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("!has(self.fork) || self.fork != self.name", "a session cannot be a fork of itself; choose another name"),
        )
    )

    name: SessionName = Field(description="Name of the AgentSession, which is created or, if it exists, resumed.")
    fork: SessionName | None = Field(
        None, description="The session to copy, conversation and filesystem, if `name` does not exist yet."
    )


class RetryReason(StrEnum):
    """Reasons of a failed attempt for which another one can be asked for, even if the prompt may have been sent."""

    agent_failed = Reason.AgentFailed.value
    container_lost = Reason.ContainerLost.value
    hook_failed = Reason.HookFailed.value
    no_progress = Reason.NoProgress.value
    out_of_memory = Reason.OutOfMemory.value
    rate_limited = Reason.RateLimited.value
    timed_out = Reason.TimedOut.value


class AgentRunSpec(Model):
    """What to run. It is immutable, but for `suspend`, `cancel` and `ttlSecondsAfterFinished`."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "has(self.prompt) != has(self.promptFrom)",
                "give exactly one of prompt and promptFrom",
            ),
            NO_IMAGE_BESIDE,
        )
    )

    prompt: (
        Annotated[str, Field(min_length=1, max_length=MAX_PROMPT, json_schema_extra=rules(NO_NUL)), without_nul] | None
    ) = Field(None, description="The prompt, at most 1 MiB.")
    prompt_from: PromptSource | None = Field(None, description="A ConfigMap or Secret that holds the prompt.")
    image: ImageRef | None = Field(
        None, description="Image to run in, such as `python:3.12`; a policy may have a default."
    )
    image_pull_secrets: PullSecrets = Field(None, description=PULL_SECRETS)
    workdir: AbsolutePath | None = Field(
        None, description="Working directory, absolute; it is created if missing. Default: the image's own."
    )
    volumes: Volumes = Field(
        None, description="Host folders to mount, `host:container[:ro|rw]`, if a policy allows them."
    )
    env: Annotated[list[RunVariable], Field(max_length=256)] | None = Field(
        None,
        description=f"Environment variables of the hooks and the agent. They override those of `envFrom`. {TOGETHER}",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    env_from: EnvFroms | None = Field(
        None,
        description="Environment variables from all keys of ConfigMaps and Secrets; later ones override earlier ones. "
        f"Keys that are no names of variables are left out, with a warning event. {TOGETHER}",
    )
    secret_files: SecretFiles | None = Field(
        None,
        description="Files in /run/stromboli/secret, each with a key of a Secret. Only the agent's user may read "
        f"them. {TOGETHER}",
    )
    lifecycle: Lifecycle | None = Field(None, description="Commands that run in the container before the agent.")
    environment: Environment | None = Field(
        None, description="A stack of services, such as a database, with the agent in one of them; instead of `image`."
    )
    session: SessionChoice | None = Field(
        None,
        description="The session that the run continues. Without one, conversation and container are deleted with it.",
    )
    claude: ClaudeOptions | None = Field(None, description="Options of the Claude CLI.")
    resources: Resources | None = Field(None, description="Limits of the run's container.")
    timeout: Duration | None = Field(
        None, description="Time limit of each attempt, and of a wait for something missing (default 30m)."
    )
    progress_timeout: Duration | None = Field(
        None, description="The attempt is ended once the CLI has written nothing for this long (default: no limit)."
    )
    backoff_limit: Annotated[int, Field(ge=0, le=MAX_RETRIES)] | None = Field(
        None,
        description="How many attempts may follow the first (default 4). By itself an attempt follows only if the "
        "prompt was certainly not sent, otherwise only for the reasons in `retryOn`.",
    )
    retry_on: Annotated[list[RetryReason], Field(max_length=len(RetryReason))] | None = Field(
        None,
        description="Reasons for which another attempt follows although the prompt may have been sent. It resumes the "
        "conversation, with a fixed sentence in place of the prompt.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    termination_grace_period: Duration | None = Field(
        None, description="Time between SIGTERM and SIGKILL when the run is canceled or out of time (default 10s)."
    )
    fail_on_denied: bool | None = Field(
        None, description="Whether the run fails as PermissionDenied if the agent was denied the use of a tool."
    )
    suspend: bool | None = Field(
        None, description="While true, no attempt is started. It does not stop one that runs. Can be changed."
    )
    cancel: bool | None = Field(
        None, description="Set it to true to stop the run for good; it cannot be taken back. Can be changed."
    )
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=MAX_TTL)] | None = Field(
        None,
        description="Seconds after its end until the run is deleted (default: that of the policy, or never). Can be "
        "changed.",
    )
    notify: Notify | None = Field(
        None, description="Whom the run's end is reported to, by an HTTP request; repeated for a day until it succeeds."
    )


class ImageStatus(Model):
    """The image that a reference was resolved to."""

    reference: str = Field("", description="The canonical reference.", max_length=1024)
    digest: str | None = Field(None, description="The manifest's digest, if a registry gave one.", max_length=256)
    id: str = Field("", description="The image's ID.", max_length=256)


class RunImage(ImageStatus):
    """The image that a run's reference was resolved to, and the one that its container was created from."""

    container_image_id: str | None = Field(
        None,
        alias="containerImageID",
        description=(
            "ID of the image that the container was created from, if it is another one: a fork starts from a copy of "
            "its parent's container."
        ),
        max_length=256,
    )


class Phase(StrEnum):
    """The state of a run in one word, for display."""

    pending = "Pending"
    running = "Running"
    succeeded = "Succeeded"
    failed = "Failed"


class RunSession(Model):
    """The run's place in its session."""

    name: str = Field("", description="The session's name.", max_length=253)
    uid: str = Field("", description="The session's UID, once the run holds the session.", max_length=64)
    claude_session_id: str = Field("", alias="claudeSessionID", description="ID of its conversation.", max_length=64)
    ticket: str = Field(
        "", description="resourceVersion when the run was first seen: orders runs of the same second.", max_length=64
    )


class PromptSent(StrEnum):
    """Whether an attempt's prompt was sent to the model."""

    yes = "Yes"
    no = "No"
    unknown = "Unknown"


class ModelUsage(Model):
    """What one model was used for, as counted by the CLI."""

    model: str = Field(description="Name of the model.", max_length=256)
    input_tokens: int = Field(0, description="Input tokens.")
    output_tokens: int = Field(0, description="Output tokens.")
    cache_read_tokens: int = Field(0, description="Tokens read from the cache.")
    cache_creation_tokens: int = Field(0, description="Tokens written to the cache.")
    cost_usd: float = Field(0, alias="costUSD", description="Cost in US dollars.")


class AttemptUsage(Model):
    """What one attempt used, as counted by the CLI."""

    turns: int = Field(0, description="Turns taken.")
    input_tokens: int = Field(0, description="Input tokens.")
    output_tokens: int = Field(0, description="Output tokens.")
    cache_read_tokens: int = Field(0, description="Tokens read from the cache.")
    cache_creation_tokens: int = Field(0, description="Tokens written to the cache.")
    cost_usd: float = Field(0, alias="costUSD", description="Cost in US dollars.")


class Usage(AttemptUsage):
    """What the run used in all its attempts, as counted by the CLI."""

    models: Annotated[list[ModelUsage], Field(max_length=16)] = Field(
        default_factory=list,
        description="The models that were used.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["model"]},
    )
    api_duration: str = Field("", description="Time spent in requests to the Claude API.", max_length=64)


class Attempt(Model):
    """One attempt at the run, recorded before its container is created."""

    number: int = Field(description="1 for the first.")
    container: str = Field(description="Name of the container.", max_length=256)
    boot_id: str = Field(alias="bootID", description="The node's boot in which the attempt was started.", max_length=64)
    timeout: str = Field("", description="Time limit of the attempt.", max_length=64)
    started_at: str | None = Field(None, description="When the attempt began.", max_length=64)
    finished_at: str | None = Field(None, description="When it ended.", max_length=64)
    exit_code: int | None = Field(None, description="Exit code of its container.")
    reason: str | None = Field(None, description="How it ended.", max_length=64)
    prompt_sent: PromptSent | None = Field(
        None,
        description="Set when the attempt has ended: Yes if the agent has answered, No if the prompt cannot have been "
        "sent, otherwise Unknown. Only after No is another attempt made automatically.",
    )
    continued: bool | None = Field(
        None, description="Whether it continued the conversation, with a fixed sentence in place of the prompt."
    )
    usage: AttemptUsage | None = Field(None, description="What it used; absent if the CLI did not say.")


class StepState(StrEnum):
    """State of one step."""

    running = "Running"
    succeeded = "Succeeded"
    failed = "Failed"


class Step(Model):
    """One step of an attempt: a hook's command, or the agent."""

    hook: str = Field(description="`agent`, or the hook's name.", max_length=64)
    index: int = Field(description="Index of the command within the hook.")
    state: StepState = Field(description="Running, Succeeded or Failed.")
    exit_code: int | None = Field(None, description="Its exit code.")
    started_at: str | None = Field(None, description="When it began.", max_length=64)
    finished_at: str | None = Field(None, description="When it ended.", max_length=64)
    tail: str = Field("", description="The last lines of its output.", max_length=16384)


class MCPServer(Model):
    """One of the agent's MCP servers, as the CLI reported it at its start."""

    name: str = Field(description="Its name.", max_length=128)
    status: str = Field(
        description="pending until the CLI has started; then connected, failed, needs-auth or pending, as it reports, "
        "or missing if it does not report a server that `claude.mcpConfigs` names.",
        max_length=64,
    )


class PermissionDenial(Model):
    """Uses of a tool that the agent was denied."""

    tool: str = Field(description="Name of the tool.", max_length=256)
    count: int = Field(description="How many uses were denied.")


class Result(Model):
    """What the agent answered."""

    text: str = Field("", description="The agent's last message, at most 32 KiB.", max_length=32768)
    truncated: bool = Field(False, description="Whether the text was longer.")
    structured: Annotated[object, Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})] | None = (
        Field(None, description="The answer in the form that `claude.jsonSchema` describes.")
    )
    is_error: bool = Field(False, description="Whether the CLI itself reports the result as an error.")
    permission_denials: Annotated[list[PermissionDenial], Field(max_length=64)] = Field(
        default_factory=list,
        description="The tools whose use the agent was denied.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["tool"]},
    )


class AgentRunStatus(Model):
    """The state of the run."""

    observed_generation: int = Field(0, description="Generation of the spec that was processed.")
    conditions: Conditions = Field(
        default_factory=list,
        description="Succeeded, Finished (True after either end), Allowed, Reconciling, Stalled.",
    )
    phase: str = Field(
        "",
        description="Pending, Running, Succeeded or Failed, for display; programs should read the conditions.",
        max_length=32,
    )
    node: str = Field("", description="The node whose operator processes the run.", max_length=253)
    waiting_since: str | None = Field(
        None,
        description="When the current wait for something missing began; `timeout` counts from here.",
        max_length=64,
    )
    next_attempt_time: str | None = Field(
        None, description="When the next attempt begins, while the run waits for that (Retrying).", max_length=64
    )
    last_output_time: str | None = Field(
        None, description="When the CLI was last seen to have written something, within 30 s.", max_length=64
    )
    attempts: Annotated[list[Attempt], Field(max_length=64)] = Field(
        default_factory=list,
        description="The attempts, oldest first.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["number"]},
    )
    image: RunImage | None = Field(None, description="The image that runs.")
    cli_image: ImageStatus | None = Field(None, description="The image that the Claude CLI comes from.")
    session: RunSession | None = Field(None, description="The session, if the run names one.")
    steps: Annotated[list[Step], Field(max_length=512)] = Field(
        default_factory=list, description="The steps of the last attempt."
    )
    mcp_servers: Annotated[list[MCPServer], Field(max_length=64)] = Field(
        default_factory=list,
        description="The agent's MCP servers, each with its state.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    result: Result | None = Field(None, description="The answer.")
    usage: Usage | None = Field(None, description="Turns, tokens and cost.")
    start_time: str | None = Field(None, description="When the operator first processed the run.", max_length=64)
    completion_time: str | None = Field(None, description="When it ended.", max_length=64)
    duration: str = Field("", description="How long its attempts took, excluding waits.", max_length=32)
    notification: Notification | None = Field(
        None,
        description="What has become of the notification that `spec.notify` asks for. It is the only part of the "
        "status that changes after the run's end.",
    )
