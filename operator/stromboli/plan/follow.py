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
# Seconds after the timeout. The supervisor has a timer of its own, which an agent can kill and a suspended machine
# stops; it gives a step GRACE between TERM and KILL, and then writes down what is left of the output.
CALL_AFTER = 1.0
GRACE = 10.0
KILL_AFTER = CALL_AFTER + GRACE + 4.0
KILL_AGAIN = 5.0  # seconds: where Podman could not
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
    call_time = auto()  # its time is up and it still runs: have its supervisor end it
    kill = auto()  # not even its supervisor has ended it: what runs there may have stopped its timers
    finish = auto()  # it has ended, whatever way
    try_again = auto()  # it was cut short before the prompt was sent: another attempt
    look_for_cli = auto()  # likewise, for its supervisor found no CLI


@dataclass(frozen=True, slots=True)
class Seen:
    """What is there of one attempt. `started` and `sent` say which seals are broken; `ended` is its record's word.

    `ran` is for how long, in seconds, its container has run, None where it has not; and `timeout` how long it may.
    `too_large` says that it ended with more in its folder than records can be.
    """

    phase: Phase
    started: bool
    sent: bool
    ended: bool
    same_boot: bool
    exit_code: int | None
    number: int
    ran: float | None
    timeout: float
    too_large: bool = False


def decide(seen: Seen) -> Next:
    """The next thing to do with an attempt."""
    if seen.phase is Phase.running:
        return _by_time(seen)
    if seen.sent:
        return Next.finish
    if not seen.started and seen.same_boot and seen.phase in (Phase.absent, Phase.created):
        return Next.launch
    if seen.number >= MAX_ATTEMPTS or _ended_by_itself(seen) or (seen.started and is_over(seen)) or seen.too_large:
        return Next.finish
    return Next.look_for_cli if found_no_cli(seen.started, seen.exit_code) else Next.try_again


def is_over(seen: Seen) -> bool:
    """Whether it has run for as long as it may."""
    return seen.ran is not None and seen.ran >= seen.timeout


def next_look(seen: Seen) -> float:
    """Seconds after which something that runs has to be looked at, whatever is heard of it."""
    over = (seen.ran or 0.0) - seen.timeout
    ahead = [moment - over for moment in (CALL_AFTER, KILL_AFTER) if moment > over]
    return ahead[0] if ahead else KILL_AGAIN


def _by_time(seen: Seen) -> Next:
    over = (seen.ran or 0.0) - seen.timeout
    if over >= KILL_AFTER:
        return Next.kill
    return Next.call_time if over >= CALL_AFTER else Next.watch


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
