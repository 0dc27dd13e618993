"""`AgentImage`: an image that a namespace's runs may use, pulled, inspected and kept on the node. In API form.

`spec.image` is immutable (models/crd.py): another image is another object.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from stromboli.models.agentpolicy import PullPolicy
from stromboli.models.base import Model
from stromboli.models.conditions import Conditions
from stromboli.models.fields import PULL_SECRETS, ImageRef, PullSecrets, Refresh


class DeletionPolicy(StrEnum):
    """What happens to the image when its AgentImage is deleted."""

    retain = "Retain"
    delete = "Delete"


class AgentImageSpec(Model):
    """Which image, and how it is kept up to date."""

    image: ImageRef = Field(description="The image, such as `python:3.12`.")
    pull_policy: PullPolicy | None = Field(
        None,
        description=(
            "IfNotPresent (default): pulled if the node does not have it; a tag that moves is reported, not followed. "
            "Always: pulled at once and at each `refresh`. Never: only used if somebody else puts it on the node."
        ),
    )
    refresh: Refresh | None = Field(
        None,
        description=(
            "How often the registry is asked whether the tag names another image by now, at most once a minute "
            "(default 6h). Without effect for a reference with a digest, and with `pullPolicy: Never`."
        ),
    )
    image_pull_secrets: PullSecrets = Field(None, description=PULL_SECRETS)
    deletion_policy: DeletionPolicy | None = Field(
        None,
        description=(
            "What happens to the image when this object is deleted. Retain (default): it stays. Delete: it is removed "
            "from the node, unless a run, a session or another AgentImage uses it, or it is the default of runs."
        ),
    )


class LibcFacts(Model):
    """The C library of an image."""

    family: str = Field(description="glibc, musl, static or unknown.", max_length=16)
    version: str = Field("", description="Its version, if that could be read.", max_length=64)


class OperatingSystem(Model):
    """The operating system that an image is made of."""

    id: str = Field(description="ID of its os-release, such as debian.", max_length=64)
    version: str = Field("", description="Its version, such as 12; empty for a rolling release.", max_length=64)
    name: str = Field("", description="Its name for people.", max_length=128)


class Tool(Model):
    """A language runtime or a tool in an image."""

    name: str = Field(description="Its name, such as python.", max_length=64)
    version: str = Field("", description="Its version, if something in the image tells it.", max_length=64)


class ImageOnNode(Model):
    """What one node has of the image, and what was seen in it."""

    name: str = Field(description="The node.", max_length=253)
    problem: str = Field(
        "",
        description="Why it cannot be pulled, such as not found, access denied or registry unavailable.",
        max_length=64,
    )
    digest: str = Field("", description="Digest of its manifest in the image's repository.", max_length=256)
    id: str = Field("", description="ID of the image.", max_length=128)
    size: int = Field(0, description="Its size in bytes.")
    created: str | None = Field(None, description="When it was built.", max_length=64)
    platform: str = Field("", description="What it is built for, such as linux/amd64.", max_length=128)
    libc: LibcFacts | None = Field(None, description="Its C library.")
    shell: str = Field("", description="Its shell, which `lifecycle` commands need.", max_length=4096)
    claude_cli: str = Field(
        "",
        alias="claudeCLI",
        description="Path of the Claude CLI that it brings.",
        max_length=4096,
    )
    user: str = Field("", description="Who its processes run as: `uid:gid`.", max_length=64)
    os: OperatingSystem | None = Field(None, description="Its operating system.")
    tools: Annotated[list[Tool], Field(max_length=64)] = Field(
        default_factory=list, description="The runtimes and tools that were found in it."
    )
    description: str = Field("", description="Its label ai.stromboli.description.", max_length=1024)
    looked_at: str | None = Field(None, description="When it was inspected.", max_length=64)


class ImageSummary(Model):
    """The columns of `kubectl get`, as text."""

    libc: str = Field("", description="C library and version.", max_length=128)
    tools: str = Field("", description="The most important tools and their versions.", max_length=512)
    size: str = Field("", description="Size, for people.", max_length=32)


class AgentImageStatus(Model):
    """The state of the image."""

    observed_generation: int = Field(0, description="Generation of the spec that was processed.")
    conditions: Conditions = Field(
        default_factory=list, description="Ready, Allowed, Compatible; Reconciling or Stalled for kstatus."
    )
    reference: str = Field("", description="The image's full reference.", max_length=1024)
    rank: int | None = Field(
        None,
        description=(
            "How well it suits agents: 1 compatible and labelled so, 2 brings its own CLI, 3 compatible, 4 not "
            "compatible; absent if it was not inspected yet."
        ),
    )
    summary: ImageSummary | None = Field(None, description="What `kubectl get` shows.")
    nodes: Annotated[
        list[ImageOnNode],
        Field(
            max_length=256,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = Field(default_factory=list, description="What each node has.")
