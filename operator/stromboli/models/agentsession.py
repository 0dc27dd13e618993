"""`AgentSession`: what outlives a run, which is its conversation and its container. As it stands on the wire.

The template can be filled once, by a person or by the first run; after that it is immutable (models/crd.py).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from stromboli.models.base import NO_NUL, Model, ObjectName, rules, without_nul
from stromboli.models.conditions import Conditions
from stromboli.models.fields import AbsolutePath, Duration, ImageRef, Resources, Volumes
from stromboli.models.lifecycle import Lifecycle


class SessionTemplate(Model):
    """What the session's container is made of; every run of the session has the same."""

    image: ImageRef | None = Field(None, description="Image of the session's container.")
    workdir: AbsolutePath | None = Field(None, description="Working directory; conversations are filed by it.")
    lifecycle: Lifecycle | None = Field(None, description="Commands that run before the agent.")
    volumes: Volumes = Field(None, description="Host folders that are mounted, `host:container[:ro|rw]`.")
    resources: Resources | None = Field(None, description="Limits of the container.")


UID_PATTERN = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"


class Parent(Model):
    """A session of the same namespace that another is a copy of."""

    name: ObjectName = Field(description="Its name.")
    uid: Annotated[str, Field(min_length=36, max_length=36, pattern=UID_PATTERN)] = Field(description="Its UID.")


class AgentSessionSpec(Model):
    """What a session is for."""

    title: Annotated[str, Field(max_length=256, json_schema_extra=rules(NO_NUL)), without_nul] | None = Field(
        None, description="A person's name for it."
    )
    template: SessionTemplate | None = Field(
        None, description="What its runs have in common; filled by the first run if absent, and fixed from then on."
    )
    forked_from: Parent | None = Field(
        None,
        description="The session that this one begins as a copy of, from its creation on; a run with `session.fork` "
        "fills it in.",
    )
    ttl_after_last_use: Duration | None = Field(
        None,
        alias="ttlAfterLastUse",
        description="How long after its last use the session is deleted, with all that it has. Default: never.",
    )


class Initialized(Model):
    """That `onCreateCommand` and `postCreate` have succeeded in the session's container."""

    image_id: str = Field(alias="imageID", description="The image that the container was made of.", max_length=256)
    hooks_hash: str = Field(description="What the hooks were: a hash of their text.", max_length=128)
    at: str = Field(description="When that was known.", max_length=64)


class RunRef(Model):
    """A run of the session's namespace."""

    name: str = Field(description="Its name.", max_length=253)
    uid: str = Field(description="Its UID.", max_length=64)


class Filesystem(StrEnum):
    """What a fork has of its parent's files."""

    copied = "Copied"
    lost = "Lost"
    not_begun = "NotBegun"


class ForkOrigin(Model):
    """Where a fork came from: the copy is made."""

    name: str = Field(description="The session that it is a copy of.", max_length=253)
    uid: str = Field(description="That session's UID.", max_length=64)
    claude_session_id: str = Field(
        "", alias="claudeSessionID", description="The conversation that it went on from.", max_length=64
    )
    filesystem: Filesystem | None = Field(
        None,
        description=(
            "What it has of that session's files: Copied; Lost, where somebody had removed that session's container; "
            "NotBegun, where the hooks of its beginning had not succeeded yet."
        ),
    )


class AgentSessionStatus(Model):
    """What there is of the session."""

    observed_generation: int = Field(0, description="Generation of the spec that was looked at.")
    conditions: Conditions = Field(default_factory=list, description="Ready, and Stalled where something is lost.")
    node: str = Field("", description="The node that has the session.", max_length=253)
    claude_session_id: str = Field("", alias="claudeSessionID", description="Id of its conversation.", max_length=64)
    container_id: str = Field("", alias="containerID", description="Id of its container.", max_length=128)
    image_id: str = Field("", alias="imageID", description="Id of the image that it began with.", max_length=256)
    initialized: Initialized | None = Field(None, description="Whether the hooks of its beginning have succeeded.")
    forked_from: ForkOrigin | None = Field(None, description="The session that it is a fork of.")
    runs: int = Field(0, description="How many runs have begun in it.")
    current_run: RunRef | None = Field(None, description="The run that has the session now.")
    last_used: str | None = Field(None, description="When a run last began or ended in it.", max_length=64)
    size_bytes: int = Field(
        0, description="Disk that it takes: what was written in its container, its fork's copy, its conversation."
    )
