"""Shapes of /images."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from stromboli.errors import InvalidInput
from stromboli.grammar import reference
from stromboli.httpapi.shapes.base import AnswerShape, Flag, RequestShape, Text

_NAME = "docker.io/library/python"
_PARTS = (2, 3)  # os/architecture, and a variant that says nothing more
_ALIASES = {"x86_64": "amd64", "aarch64": "arm64"}


class ImageInfo(AnswerShape):
    """An image of a node that runs of the namespace may use, under one of its names."""

    id: str = Field(examples=["sha256:4f1c…"])
    repository: str = Field(examples=[_NAME])
    tag: str = Field(description="`<none>` if it has a digest only.", examples=["3.12"])
    size: int = Field(description="Bytes.")
    created: str | None = Field(None, description="When it was built (RFC 3339).")
    compatibility_rank: int | None = Field(
        None,
        description="How well it suits agents: 1 compatible and labelled so, 2 brings a Claude CLI of its own, "
        "3 compatible, 4 not compatible; absent if that is not known.",
    )
    compatible: bool = Field(description="Whether the Claude CLI can run in it.")
    tools: list[str] = Field(description="Runtimes and tools that were found in it.", examples=[["python", "pip"]])
    has_claude_cli: bool = Field(description="Whether it brings a Claude CLI of its own.")
    description: str = Field(description="Its label ai.stromboli.description.")


class ImagesAnswer(AnswerShape):
    """Images by rank, repository and tag; those of an unknown rank are last."""

    images: list[ImageInfo]


class FoundTool(AnswerShape):
    """A runtime or a tool in an image."""

    name: str = Field(examples=["python"])
    version: str = Field("", description="Empty if nothing in the image tells it.", examples=["3.12.4"])


class FoundLibc(AnswerShape):
    """The C library of an image."""

    family: str = Field(description="glibc, musl, static or unknown.")
    version: str


class FoundSystem(AnswerShape):
    """The operating system that an image is made of, as its os-release says."""

    id: str = Field(examples=["debian"])
    version: str = Field(examples=["12"])
    name: str = Field(examples=["Debian GNU/Linux 12"])


class FoundInside(AnswerShape):
    """What was found in an image."""

    platform: str = Field(description="What it is built for.", examples=["linux/amd64"])
    libc: FoundLibc
    os: FoundSystem | None = None
    shell: str = Field(description="Its shell, which `lifecycle` commands need; empty if it has none.")
    claude_cli: str = Field(description="Path of the Claude CLI that it brings; empty if it brings none.")
    user: str = Field(description="Who its processes run as: `uid:gid`.")
    tools: list[FoundTool]


class ImageDetail(ImageInfo):
    """An image, and what is in it."""

    digest: str = Field(description="The digest of its manifest in its repository.")
    labels: dict[str, str]
    rank_description: str
    found: FoundInside
    message: str = Field(description="Why the Claude CLI can or cannot run in it.")
    refusal: str = Field(description="What a run with this image would be refused with; empty if it would not be.")
    untrue_labels: list[str] = Field(description="What its labels claim and what was found instead.")


class SearchResult(AnswerShape):
    """An image that a registry has."""

    index: str = Field(description="The registry.", examples=["docker.io"])
    name: str = Field(examples=[_NAME])
    description: str
    stars: int
    official: bool
    automated: bool


class SearchAnswer(AnswerShape):
    """Images that registries have."""

    results: list[SearchResult]


def _checked_image(image: str) -> str:
    try:
        reference.parse(image)
    except InvalidInput as e:
        raise ValueError(e.message) from e
    return image


def _checked_platform(platform: str | None) -> str | None:
    if platform is None:
        return None
    system, *machine = parts = platform.lower().split("/")
    if len(parts) not in _PARTS or not all(parts):
        raise ValueError("must be as in linux/amd64")
    if system != "linux":
        raise ValueError("must begin with linux/: nodes run no containers of another operating system")
    return f"linux/{_ALIASES.get(machine[0], machine[0])}"


class PullRequest(RequestShape):
    """An image that is to be on the node."""

    image: Annotated[str, AfterValidator(_checked_image)] = Field(examples=["python:3.12"])
    platform: Annotated[Text, AfterValidator(_checked_platform)] = Field(
        None, description="Only the node's own is pulled; another one is refused.", examples=["linux/amd64"]
    )
    quiet: Flag = Field(False, description="No progress is sent, only the end.")


class PullAnswer(AnswerShape):
    """The image is on the node."""

    success: Literal[True] = True
    image_id: str = Field(examples=["sha256:4f1c…"])
    image: str = Field(description="As it was asked for.", examples=["python:3.12"])


class PullProgress(AnswerShape):
    """The data of an event while an image is being pulled; bytes and layers are 0 while they are not known."""

    status: Literal["pulling"] = "pulling"
    message: str
    fetched: int = Field(description="Bytes.")
    size: int = Field(description="Bytes.")
    complete_layers: int
    layers: int
