"""The AgentImage by which somebody waits for an image: its name, and what its status says meanwhile. Pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from stromboli.errors import InvalidInput
from stromboli.grammar import reference
from stromboli.grammar.reference import Reference
from stromboli.models.image import AgentImage
from stromboli.models.objects import condition, stands, text
from stromboli.reasons import ImageCondition, PresentReason

_MIB = 1024 * 1024
# Of podman.pulls.PullProgress, in the message of `Ready`.
_AMOUNTS = re.compile(
    r"(?P<fetched>[0-9]{1,9}\.[0-9]) of (?P<size>[0-9]{1,9}\.[0-9]) MiB"
    r"(?:, (?P<complete>[0-9]{1,6}) of (?P<layers>[0-9]{1,6}) layers)?"
)
_AROUND = re.compile(r"^pulling \S+: |, [0-9]+ s so far$")  # what whoever shows it says anyway


@dataclass(frozen=True, slots=True)
class Fetching:
    """It is on its way: bytes and layers, 0 if they are not known. `unseen`: no operator has written a status yet."""

    message: str
    fetched: int = 0
    size: int = 0
    complete: int = 0
    layers: int = 0
    unseen: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """It is on the node. `incompatible` says why the Claude CLI cannot run in it; empty if it can."""

    message: str
    incompatible: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """It does not get there, for the reason of `Ready`. `problems` are values of RegistryProblem, one of each node that
    had one, if a registry is the reason; not all nodes fail for one.
    """

    message: str
    reason: str
    problems: tuple[str, ...] = ()


def name_for(image: Reference) -> str:
    """The name of the object for an image: readable, and another one for each image."""
    words = re.sub(r"[^a-z0-9]+", "-", f"{image.path}-{image.tag or ''}".lower()).strip("-")[:40].strip("-")
    return f"{words}-{hashlib.sha256(str(image).encode()).hexdigest()[:8]}"


def is_of(found: AgentImage, image: Reference) -> bool:
    """Whether an object is of that image, and stays."""
    try:
        return not found.is_being_deleted and reference.parse(found.reference) == image
    except InvalidInput:
        return False


def of(image: AgentImage) -> Fetching | Ended | Failed:
    """What the status says now."""
    status = image.status
    if status.generation != image.generation or not status.reason:
        return Fetching("", unseen=True)
    if status.reason == PresentReason.Present:
        return Ended(status.message, _incompatible(image))
    if status.reason == PresentReason.RegistryUnavailable:
        return Failed(status.message, status.reason)
    if stands(status.wire, ImageCondition.Stalled, "True"):
        return Failed(status.message, status.reason, _problems(image))
    return _fetching(status.message)


def _problems(image: AgentImage) -> tuple[str, ...]:
    if image.status.reason != PresentReason.ImagePullFailed:
        return ()
    return tuple(held.problem for held in image.status.held.values() if held.problem)


def _incompatible(image: AgentImage) -> str:
    wire, type_ = image.status.wire, ImageCondition.Compatible
    return text(condition(wire, type_).get("message")) if stands(wire, type_, "False") else ""


def _fetching(message: str) -> Fetching:
    found = _AMOUNTS.search(message)
    if found is None:
        return Fetching(_AROUND.sub("", message))
    fetched, size = (round(float(found[name]) * _MIB) for name in ("fetched", "size"))
    return Fetching(message, fetched, size, int(found["complete"] or 0), int(found["layers"] or 0))
