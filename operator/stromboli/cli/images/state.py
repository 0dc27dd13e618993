"""What an AgentImage's status says to whoever waits for its image. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from stromboli.cli import exitcodes
from stromboli.models.image import AgentImage
from stromboli.models.objects import condition, text
from stromboli.reasons import ImageCondition, PresentReason

_MIB = 1024 * 1024
# Of podman.pulls.PullProgress, in the message of `Ready`.
_AMOUNTS = re.compile(
    r"(?P<fetched>[0-9]{1,9}\.[0-9]) of (?P<size>[0-9]{1,9}\.[0-9]) MiB"
    r"(?:, (?P<complete>[0-9]{1,6}) of (?P<layers>[0-9]{1,6}) layers)?"
)
_AROUND = re.compile(r"^pulling \S+: |, [0-9]+ s so far$")  # what the command line shows itself


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
    """It does not get there; `code` is the command's exit code."""

    message: str
    code: int


def of(image: AgentImage) -> Fetching | Ended | Failed:
    """What the status says now."""
    status = image.status
    if status.generation != image.generation or not status.reason:
        return Fetching("", unseen=True)
    if status.reason == PresentReason.Present:
        return Ended(status.message, _incompatible(image))
    if status.reason == PresentReason.RegistryUnavailable:
        return Failed(status.message, exitcodes.REGISTRY_AWAY)
    if condition(status.wire, ImageCondition.Stalled).get("status") == "True":
        return Failed(status.message, _problem(image) or exitcodes.of_reason(status.reason))
    return _fetching(status.message)


def _problem(image: AgentImage) -> int | None:
    """The exit code of what a registry said, if that is why there is no image; not all nodes fail for one reason."""
    if image.status.reason != PresentReason.ImagePullFailed:
        return None
    problems = (exitcodes.of_problem(held.problem) for held in image.status.held.values())
    return next((code for code in problems if code), None)


def _incompatible(image: AgentImage) -> str:
    found = condition(image.status.wire, ImageCondition.Compatible)
    return text(found.get("message")) if found.get("status") == "False" else ""


def _fetching(message: str) -> Fetching:
    found = _AMOUNTS.search(message)
    if found is None:
        return Fetching(_AROUND.sub("", message))
    fetched, size = (round(float(found[name]) * _MIB) for name in ("fetched", "size"))
    return Fetching(message, fetched, size, int(found["complete"] or 0), int(found["layers"] or 0))
