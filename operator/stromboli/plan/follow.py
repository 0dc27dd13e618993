"""An attempt that is written down, and what is seen of it → what to do now. Pure.

This is where "at most once" is decided, and by nothing that a process in the container can make or take back: whether
an attempt's seals are broken (attempt/seals.py), and what Podman says. Nothing is started for an attempt whose first
seal is broken, nor for one of another boot; what was never sent, as the second seal shows, may be tried again as a new
attempt, and what was sent never is. Records and exit codes are an agent's to forge: they choose only between endings
that are safe either way.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from stromboli.plan.attempt import CLI_MISSING, OUT_UNUSABLE

MAX_ATTEMPTS = 5
# What Podman says of a container that was killed, or whose end it did not see. The supervisor never ends with these.
KILLED = frozenset({137, 255, -1})
CLI_PAUSE = 5.0  # seconds before the third attempt that may find no CLI; twice as many before each further one


class Phase(Enum):
    """What Podman says of the attempt's container."""

    absent = auto()
    created = auto()
    running = auto()
    exited = auto()


class Next(Enum):
    """What is to be done with the attempt."""

    launch = auto()  # make the container (again) and start it: nothing has begun
    watch = auto()  # it is going
    finish = auto()  # it has ended, whatever way
    try_again = auto()  # it was cut short before the prompt was sent: another attempt
    look_for_cli = auto()  # likewise, for its supervisor found no CLI


@dataclass(frozen=True, slots=True)
class Seen:
    """What is there of one attempt. `started` and `sent` say which seals are broken; `ended` is its record's word."""

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
    if seen.sent:
        return Next.finish
    if not seen.started and seen.same_boot and seen.phase in (Phase.absent, Phase.created):
        return Next.launch
    if seen.number >= MAX_ATTEMPTS or _ended_by_itself(seen):
        return Next.finish
    return Next.look_for_cli if found_no_cli(seen.started, seen.exit_code) else Next.try_again


def found_no_cli(started: bool, exit_code: int | None) -> bool:
    """Whether the supervisor itself says so: nothing else can have run before the first seal is broken."""
    return not started and exit_code == CLI_MISSING


def pause(number: int) -> float:
    """Seconds from the end of an attempt that found no CLI to the next: a mount that was lost is back at once, and
    what else it may be takes longer.
    """
    return 0.0 if number < 2 else CLI_PAUSE * 2.0 ** (number - 2)


def _ended_by_itself(seen: Seen) -> bool:
    """Whether the supervisor came to an end of its own after its start, unless that was for a full disk.

    Its hooks failed, then, and would fail again. That they removed the record of it is no reason to repeat them.
    """
    if not seen.started or seen.exit_code == OUT_UNUSABLE:
        return False
    by_code = seen.phase is Phase.exited and seen.exit_code is not None and seen.exit_code not in KILLED
    return seen.ended or (seen.same_boot and by_code)
