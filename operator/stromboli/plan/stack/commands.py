"""What a service runs: entrypoint and command of the file and of its image, combined as Docker does. Pure.

An entrypoint of the file drops the image's command; an empty one clears the image's entrypoint and keeps its command.
An empty command is as if there were none.
"""

from __future__ import annotations

from dataclasses import dataclass

from stromboli.compose.stack import Service
from stromboli.plan.stack.image import Image

_CLEARED = ("",)  # Docker's other word for no entrypoint


@dataclass(frozen=True, slots=True)
class Command:
    """The words of both, either of which may be empty."""

    entrypoint: tuple[str, ...]
    command: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to run, which is a mistake of the file."""
        return not self.entrypoint and not self.command


def combined(service: Service, image: Image) -> Command:
    """What the service runs."""
    stated = service.entrypoint
    command = service.command or ()
    if not stated and not command:
        command = image.command
    entrypoint = image.entrypoint if stated is None else stated
    return Command(() if entrypoint == _CLEARED else entrypoint, command)
