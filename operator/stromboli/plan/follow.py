"""An attempt that is written down, and what is seen of it → what to do now. Pure.

This is where "at most once" is decided: nothing is started for an attempt that bears `started`, nor for one
of another boot; what was never `sent` may be tried again as a new attempt; what was sent never is.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from stromboli.plan.attempt import CLI_MISSING, OUT_UNUSABLE

MAX_ATTEMPTS = 5


class Phase(Enum):
    """What Podman says of the attempt's container."""

    absent = auto()
    created = auto()
    running = auto()
    exited = auto()


class Next(Enum):
    """What is to be done with the attempt."""

    launch = auto()  # make the container (again) and start it: nothing has begun
    mount_and_launch = auto()  # the CLI was not at its place; no mark was set
    watch = auto()  # it is going
    finish = auto()  # it has ended, whatever way
    try_again = auto()  # it was cut short before the prompt was sent: another attempt


@dataclass(frozen=True, slots=True)
class Seen:
    """What is there of one attempt."""

    phase: Phase
    started: bool
    sent: bool
    ended: bool
    same_boot: bool
    exit_code: int | None
    number: int


def decide(seen: Seen) -> Next:
    """The next thing to do with an attempt."""
    if seen.phase is Phase.running:
        return Next.watch
    if seen.sent or (seen.ended and seen.exit_code != OUT_UNUSABLE):
        return Next.finish
    if seen.started or not seen.same_boot:
        return _cut_short(seen)
    if seen.phase in (Phase.absent, Phase.created):
        return Next.launch
    if seen.exit_code == CLI_MISSING:
        return Next.mount_and_launch
    return _cut_short(seen)


def _cut_short(seen: Seen) -> Next:
    return Next.try_again if seen.number < MAX_ATTEMPTS else Next.finish
