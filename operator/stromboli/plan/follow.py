"""Decides what to do next with a run that has a recorded attempt, from its spec, what is observed, and now. Pure.

All decisions about an existing attempt are made here: whether it is started, followed, signalled, killed, ended, tried
again or canceled. reconcile.py carries them out, and plan/outcome.py decides how an ended attempt is reported.

"At most once" is decided here, and only by evidence that no process in the container can forge or undo: whether the
attempt's seals are broken (attempt/seals.py), and what Podman reports. An attempt whose first seal is broken, or which
is of an earlier boot, is never started. If the second seal shows that the prompt was never sent, it may be tried again
in a new attempt; a prompt that was sent never is. An agent can forge records and exit codes, so these only choose
between outcomes that are all safe.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from stromboli.grammar import duration
from stromboli.models.run import AttemptEntry, Run
from stromboli.plan import progress
from stromboli.plan.attempt import CLI_MISSING, OUT_UNUSABLE
from stromboli.plan.verdict import Wait
from stromboli.reasons import Reason

MAX_ATTEMPTS = 5
# The exit codes of a container that was killed, or whose end Podman did not see. The supervisor never uses them.
KILLED = frozenset({137, 255, -1})
# Seconds after the timeout. The supervisor has its own timer, which an agent can kill and which stops while the machine
# is suspended. It gives a step GRACE between TERM and KILL, and then records the rest of the output.
CALL_AFTER = 1.0
GRACE = 10.0
KILL_AFTER = CALL_AFTER + GRACE + 4.0
KILL_AGAIN = 5.0  # seconds until the next attempt to kill if Podman failed
CLI_PAUSE = 5.0  # seconds before the third attempt that may find no CLI; they double for each further one
HOOKS_RECHECK = 1.0  # seconds between checks of hooks, since nothing signals their end
# Seconds from the write-ahead until the status says that the agent is working. Nobody would see that of a run that ends
# at once, and the write would take time just when the CLI starts.
AT_WORK_AFTER = 1.0

_CUT_SHORT = "the attempt was interrupted before the prompt was sent; it is tried again"
_NO_CLI = "the container did not find the Claude CLI; its mount is checked, and the start is tried again"


class Phase(Enum):
    """The attempt's container, as Podman reports it."""

    absent = auto()
    created = auto()
    running = auto()  # or paused: it may have processes
    exited = auto()


@dataclass(frozen=True, slots=True)
class Seen:
    """What is observed of one attempt. `started` and `sent` say which seals are broken; `ended` is what its records
    say.

    `started_at` and `ended_at` are what Podman says about its container, None if unknown. `step` is the last hook in
    its records, empty if there is none. `too_large` means that it ended with more in its folder than records can be,
    `session_deleted` that the run's session no longer exists.
    """

    phase: Phase
    started: bool
    sent: bool
    ended: bool
    same_boot: bool
    exit_code: int | None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    step: str = ""
    too_large: bool = False
    session_deleted: bool = False


# --- the actions ---


@dataclass(frozen=True, slots=True)
class Launch:
    """Create the container (again) and start it: nothing of attempt `number` has begun."""

    number: int


@dataclass(frozen=True, slots=True)
class FollowHooks:
    """Its hooks are running: report `message`, check again after `again` seconds, and be woken after `until`."""

    message: str
    again: float
    until: float


@dataclass(frozen=True, slots=True)
class FollowAgent:
    """Its agent is working: be woken at its end, or after `until` seconds. Report it only in `quiet` seconds."""

    until: float
    quiet: float


@dataclass(frozen=True, slots=True)
class EndAttempt:
    """It is running past its timeout: have its supervisor end it or, `by_force`, kill the container, since an agent may
    have stopped the supervisor's timers. Then follow it as before.
    """

    container: str
    by_force: bool
    then: FollowHooks | FollowAgent


@dataclass(frozen=True, slots=True)
class Finish:
    """It has ended in some way: decide its outcome. It ran for `ran` of the `timeout` seconds that it was allowed, and
    until `ended_at`; None if unknown.
    """

    timeout: float
    ran: float | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class TryAgain:
    """It ended before the prompt was sent: record that, with the `exit_code` and end of its container, and start
    attempt `number`. `doubt_cli` means that the mount of the CLI has to be checked first.
    """

    number: int
    reason: Reason
    message: str
    doubt_cli: bool
    exit_code: int | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class AwaitCLI:
    """Like TryAgain with `doubt_cli`, but it is too early for the next start."""

    wait: Wait


@dataclass(frozen=True, slots=True)
class Cancel:
    """It must not continue: ensure that its container does not run, and end the run."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """What the run waits for did not happen in time: end the run."""

    reason: Reason
    message: str


Action = Launch | FollowHooks | FollowAgent | EndAttempt | Finish | TryAgain | AwaitCLI | Cancel
Late = Finish | GiveUp


# --- the decisions ---


def decide(run: Run, seen: Seen, now: datetime) -> Action:
    """The next action for the last attempt of a run, as it is observed `now`."""
    attempt = run.status.attempts[-1]
    if seen.session_deleted:
        return Cancel(Reason.Canceled, f"its session {run.session} was deleted during the run")
    if seen.phase is Phase.running:
        return _in_time(run, attempt, seen, now)
    if seen.sent:
        return _finish(attempt, seen, now)
    if not seen.started and seen.same_boot and seen.phase in (Phase.absent, Phase.created):
        return Launch(attempt.number)
    over = seen.started and is_over(attempt, seen, now)
    if attempt.number >= MAX_ATTEMPTS or _ended_by_itself(seen) or over or seen.too_large:
        return _finish(attempt, seen, now)
    return _again(attempt, seen, now)


def begun(run: Run, now: datetime, *, hooks: bool) -> FollowHooks | FollowAgent:
    """How to follow the attempt whose container has just been started. If it has `hooks`, these run first."""
    attempt = run.status.attempts[-1]
    if hooks:
        return _hooks("", attempt.timeout + CALL_AFTER)
    return _agent(run, attempt, now, attempt.timeout + CALL_AFTER)


def out_of_time(run: Run, seen: Seen | None, now: datetime, waits: Wait, bound: float) -> Late:
    """What the run waits for did not happen in `bound` seconds. If its attempt has ended meanwhile, according to its
    records, that is its outcome. `seen` is None if there is no attempt yet.
    """
    if seen is not None and seen.ended:
        return _finish(run.status.attempts[-1], seen, now)
    return GiveUp(Reason.TimedOut, f"gave up after {duration.format(bound)} ({waits.reason}): {waits.message}")


def is_over(attempt: AttemptEntry, seen: Seen, now: datetime) -> bool:
    """Whether the attempt has run for its whole timeout."""
    ran = _ran(seen, now)
    return ran is not None and ran >= attempt.timeout


def pause(number: int) -> float:
    """Seconds from the end of an attempt that found no CLI to the next one: a lost mount is restored at once, and other
    causes take longer.
    """
    return 0.0 if number < 2 else CLI_PAUSE * 2.0 ** (number - 2)


def _in_time(run: Run, attempt: AttemptEntry, seen: Seen, now: datetime) -> FollowHooks | FollowAgent | EndAttempt:
    """A running attempt is followed until its timeout, and ended in two steps after that."""
    over = (_ran(seen, now) or 0.0) - attempt.timeout
    ahead = [moment - over for moment in (CALL_AFTER, KILL_AFTER) if moment > over]
    until = ahead[0] if ahead else KILL_AGAIN
    hooks = not seen.sent and (seen.step or run.status.reason == Reason.RunningHooks)
    then = _hooks(seen.step, until) if hooks else _agent(run, attempt, now, until)
    if over < CALL_AFTER:
        return then
    return EndAttempt(attempt.container, by_force=over >= KILL_AFTER, then=then)


def _hooks(step: str, until: float) -> FollowHooks:
    message = f"{step} is running" if step else "the hooks of spec.lifecycle are running"
    return FollowHooks(message, HOOKS_RECHECK, until)


def _agent(run: Run, attempt: AttemptEntry, now: datetime, until: float) -> FollowAgent:
    spent = (now - (attempt.started or now)).total_seconds()
    quiet = max(AT_WORK_AFTER - spent, 0.0) if run.status.reason == Reason.Starting else 0.0
    return FollowAgent(min(until, progress.next_check(spent)), quiet)


def _again(attempt: AttemptEntry, seen: Seen, now: datetime) -> TryAgain | AwaitCLI:
    # This exit code is the supervisor's: nothing else can have run before the first seal is broken.
    no_cli = not seen.started and seen.exit_code == CLI_MISSING
    if no_cli:
        since_end = 0.0 if seen.ended_at is None else (now - seen.ended_at).total_seconds()
        if (left := pause(attempt.number) - since_end) > 0:
            return AwaitCLI(Wait(Reason.CLIImageUnavailable, _NO_CLI, left))
    return TryAgain(
        attempt.number + 1,
        Reason.CLIImageUnavailable if no_cli else Reason.ContainerLost,
        _NO_CLI if no_cli else _CUT_SHORT,
        doubt_cli=no_cli,
        exit_code=seen.exit_code,
        ended_at=seen.ended_at,
    )


def _finish(attempt: AttemptEntry, seen: Seen, now: datetime) -> Finish:
    return Finish(attempt.timeout, _ran(seen, now), seen.ended_at)


def _ran(seen: Seen, now: datetime) -> float | None:
    """Seconds from the container's start to its end, or until `now`; None if either is unknown.

    They do not count from the write-ahead of the attempt, since the operator may have been down after it.
    """
    until = now if seen.phase is Phase.running else seen.ended_at
    if seen.started_at is None or until is None:
        return None
    return max((until - seen.started_at).total_seconds(), 0.0)


def _ended_by_itself(seen: Seen) -> bool:
    """Whether the supervisor ended by itself after its start, for any reason but a full disk.

    Then the hooks failed, and would fail again. If they removed the record of that, they are not repeated either.
    """
    if not seen.started or seen.exit_code == OUT_UNUSABLE:
        return False
    by_code = seen.phase is Phase.exited and seen.exit_code is not None and seen.exit_code not in KILLED
    return seen.ended or (seen.same_boot and by_code)
