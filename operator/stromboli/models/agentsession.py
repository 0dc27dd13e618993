"""`AgentSession`: what outlives a run: its conversation and its container. Spec and status in API form.

The template can be set once, by a user or by the first run; after that it is immutable (models/crd.py).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from stromboli.models.base import NO_NUL, Model, ObjectName, rules, without_nul
from stromboli.models.conditions import Conditions
from stromboli.models.environment import NO_IMAGE_BESIDE, Environment
from stromboli.models.fields import PULL_SECRETS, AbsolutePath, Duration, ImageRef, PullSecrets, Resources, Volumes
from stromboli.models.lifecycle import Lifecycle


class SessionTemplate(Model):
    """The properties of the session's container, which all runs of the session share."""

    model_config = ConfigDict(json_schema_extra=rules(NO_IMAGE_BESIDE))

    image: ImageRef | None = Field(None, description="Image of the session's container.")
    image_pull_secrets: PullSecrets = Field(None, description=PULL_SECRETS)
    workdir: AbsolutePath | None = Field(None, description="Working directory; the CLI stores conversations by it.")
    lifecycle: Lifecycle | None = Field(None, description="Commands that run before the agent.")
    volumes: Volumes = Field(None, description="Host folders to mount, `host:container[:ro|rw]`.")
    environment: Environment | None = Field(
        None, description="The stack of services that the agent runs in; instead of `image`."
    )
    resources: Resources | None = Field(None, description="Limits of the container.")


MAX_SERVICES = 256
UID_PATTERN = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"


class Parent(Model):
    """The session, in the same namespace, that another one is a copy of."""

    name: ObjectName = Field(description="Its name.")
    uid: Annotated[str, Field(min_length=36, max_length=36, pattern=UID_PATTERN)] = Field(description="Its UID.")


class AgentSessionSpec(Model):
    """What a session is for, and what its runs share."""

    title: Annotated[str, Field(max_length=256, json_schema_extra=rules(NO_NUL)), without_nul] | None = Field(
        None, description="A title for people."
    )
    template: SessionTemplate | None = Field(
        None, description="What its runs share; set by the first run if absent, and immutable from then on."
    )
    forked_from: Parent | None = Field(
        None,
        description="The session that this one starts as a copy of. It is set at creation, by a run with "
        "`session.fork` for example.",
    )
    ttl_after_last_use: Duration | None = Field(
        None,
        alias="ttlAfterLastUse",
        description="How long after its last use the session is deleted, with everything in it. Default: never.",
    )


class Initialized(Model):
    """The proof that `onCreateCommand` and `postCreate` have succeeded in the session's container."""

    image_id: str = Field(alias="imageID", description="The image that the container was created from.", max_length=256)
    hooks_hash: str = Field(description="A hash of the hooks' text.", max_length=128)
    at: str = Field(description="When this was recorded.", max_length=64)


class RunRef(Model):
    """A run in the session's namespace."""

    name: str = Field(description="Its name.", max_length=253)
    uid: str = Field(description="Its UID.", max_length=64)


class Filesystem(StrEnum):
    """What a fork has of its parent's files."""

    copied = "Copied"
    lost = "Lost"
    not_begun = "NotBegun"


class ForkOrigin(Model):
    """The origin of a fork, once it has been copied."""

    name: str = Field(description="The session that it is a copy of.", max_length=253)
    uid: str = Field(description="That session's UID.", max_length=64)
    claude_session_id: str = Field(
        "", alias="claudeSessionID", description="The conversation that it continues.", max_length=64
    )
    filesystem: Filesystem | None = Field(
        None,
        description=(
            "What it has of that session's files: Copied; Lost, if that session's container had been removed; "
            "NotBegun, if that session's initial hooks had not succeeded yet."
        ),
    )


class ServiceState(StrEnum):
    """What a service's container is doing. Its name is as in `docker compose ps`, but for the first and the last."""

    pending = "Pending"
    created = "Created"
    running = "Running"
    paused = "Paused"
    exited = "Exited"
    stopped = "Stopped"


class ServiceHealth(StrEnum):
    """What a service's health check says."""

    none = "None"
    starting = "Starting"
    healthy = "Healthy"
    unhealthy = "Unhealthy"


class ServiceStatus(Model):
    """One service of the session's stack."""

    name: str = Field(description="Its name in the compose file.", max_length=253)
    image: str = Field("", description="The image's canonical reference; empty if it is built.", max_length=1024)
    digest: str | None = Field(None, description="The manifest's digest, if a registry gave one.", max_length=256)
    state: ServiceState = Field(
        description="Pending (its container does not exist yet), Created, Running, Paused, Exited (by itself), or "
        "Stopped (with the stack, until the next run)."
    )
    health: ServiceHealth = Field(
        description="What its health check says: Starting, Healthy, Unhealthy; None if it has no check."
    )
    ready: bool = Field(
        description="Whether what depends on it may start: it is healthy; it accepts connections, if it has no check "
        "but a port; or it has done its work, if it runs only once."
    )
    restarts: int = Field(0, description="How often it ended and was started again.")
    started_at: str | None = Field(None, description="When it last started.", max_length=64)
    message: str = Field("", description="Why it is not ready.", max_length=1024)


class AgentSessionStatus(Model):
    """The state of the session."""

    observed_generation: int = Field(0, description="Generation of the spec that was processed.")
    conditions: Conditions = Field(default_factory=list, description="Ready, and Stalled if the volume is lost.")
    node: str = Field("", description="The node that holds the session.", max_length=253)
    claude_session_id: str = Field("", alias="claudeSessionID", description="ID of its conversation.", max_length=64)
    container_id: str = Field("", alias="containerID", description="ID of its container.", max_length=128)
    image_id: str = Field("", alias="imageID", description="ID of the image that it began with.", max_length=256)
    initialized: Initialized | None = Field(None, description="Set once the session's initial hooks have succeeded.")
    forked_from: ForkOrigin | None = Field(None, description="The session that it was forked from.")
    runs: int = Field(0, description="How many runs have started in it.")
    current_run: RunRef | None = Field(None, description="The run that holds the session now.")
    last_used: str | None = Field(None, description="When a run last started or ended in it.", max_length=64)
    services: Annotated[list[ServiceStatus], Field(max_length=MAX_SERVICES)] = Field(
        default_factory=list,
        description="The services of its stack, if it has one.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    size_bytes: int = Field(
        0, description="Its disk usage: files written in its container, a fork's copy, its conversation."
    )
