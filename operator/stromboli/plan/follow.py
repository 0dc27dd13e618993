"""Decides what to do next with a run that has a recorded attempt, from its spec, what is observed, and now. Pure.

All decisions about an existing attempt are made here: whether it is started, followed, signalled, killed, ended, tried
again or canceled. reconcile.py carries them out, plan/outcome.py decides how an ended attempt is reported, and
plan/retry.py whether another one follows although the prompt may have been sent.

"At most once" is decided here, and only by evidence that no process in the container can forge or undo: whether the
attempt's seals are broken (attempt/seals.py), and what Podman reports. An attempt whose first seal is broken, or which
is of an earlier boot, is never started. If the second seal shows that the prompt was never sent, it may be tried again
in a new attempt by itself; a prompt that was sent never is. An agent can forge records and exit codes, so these only
choose between outcomes that are all safe.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Literal

from stromboli.grammar import duration
from stromboli.models.agentrun import PromptSent
from stromboli.models.run import DEFAULT_GRACE, AttemptEntry, Run
from stromboli.plan import progress
from stromboli.plan.attempt import CLI_MISSING, OUT_UNUSABLE
from stromboli.plan.verdict import Wait
from stromboli.reasons import Reason

MAX_ATTEMPTS = 5
# The exit codes of a container that was killed, or whose end Podman did not see. The supervisor never uses them.
KILLED = frozenset({137, 255, -1})
# Seconds after the timeout. The supervisor has its own timer, which an agent can kill and which stops while the machine
# is suspended. It gives a step the run's grace between TERM and KILL, and then RECORDING for the rest of the output.
CALL_AFTER = 1.0
RECORDING = 4.0
KILL_AFTER = CALL_AFTER + DEFAULT_GRACE + RECORDING  # with the default grace; more or less with another
CANCEL_MARGIN = 1.0  # seconds after the grace of a canceled run, which the supervisor keeps by itself
KILL_AGAIN = 5.0  # seconds until the next attempt to kill if Podman failed
LONGEST_PAUSE = 300.0  # seconds between attempts that find no CLI
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

    In seconds, by a clock that nobody sets: `ran` is how long the container has been running, None if it does not run;
    `silent` for how long the CLI has written nothing, None before its start; `canceling` since when a canceled run is
    being ended; `rested` how long ago the attempt ended, if another one is to follow.
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
    ran: float | None = None
    silent: float | None = None
    canceling: float = 0.0
    rested: float = 0.0


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
class FollowEnd:
    """It is being ended because the run was canceled: report `message`, and check again after `again` seconds."""

    message: str
    again: float


# What the supervisor does at each signal: it sends TERM to the step, KILL after the grace, and records the cause: that
# the run was canceled, that the timeout has passed, that the CLI makes no progress. KILL ends the container at once.
Signal = Literal["TERM", "USR1", "HUP", "KILL"]


@dataclass(frozen=True, slots=True)
class EndAttempt:
    """It has to end: send the signal to its supervisor, or KILL if that has not helped, since an agent may have stopped
    the supervisor's timers. Then follow it.
    """

    container: str
    signal: Signal
    then: FollowHooks | FollowAgent | FollowEnd


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
    """It must not continue: ensure that its container does not run, and end the run. `sent` is what is then known of
    the prompt of its last attempt.
    """

    reason: Reason
    message: str
    sent: PromptSent = PromptSent.unknown


@dataclass(frozen=True, slots=True)
class HoldBack:
    """No attempt may be started for now: report it, and wait until the spec changes."""

    message: str = "spec.suspend is true, so no attempt is started; goes on once it is false"


@dataclass(frozen=True, slots=True)
class Pause:
    """The next attempt begins in `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """What the run waits for did not happen in time: end the run."""

    reason: Reason
    message: str


Action = Launch | FollowHooks | FollowAgent | EndAttempt | Finish | TryAgain | AwaitCLI | Cancel | HoldBack | Pause
Late = Finish | GiveUp


# --- the decisions ---


def before_start(run: Run) -> Cancel | HoldBack | None:
    """What its spec says of a run that has no attempt yet; None if it may go on to its start."""
    if run.is_canceled:
        return Cancel(Reason.Canceled, "spec.cancel is true; no attempt was started, so the prompt was not sent")
    return HoldBack() if run.is_suspended else None


def decide(run: Run, seen: Seen, now: datetime) -> Action:
    """The next action for the last attempt of a run, as it is observed `now`."""
    attempt = run.status.attempts[-1]
    if seen.session_deleted:
        return Cancel(Reason.Canceled, f"its session {run.session} was deleted during the run")
    if run.status.is_between_attempts:
        return _next(run, attempt, seen)
    if seen.phase is Phase.running:
        return _canceling(run, attempt, seen) if run.is_canceled else _in_time(run, attempt, seen, now)
    if seen.sent:
        return _finish(attempt, seen, now)
    if run.is_canceled:
        return _finish(attempt, seen, now) if seen.started else _never_sent(attempt)
    if not seen.started and seen.same_boot and seen.phase in (Phase.absent, Phase.created):
        return HoldBack() if run.is_suspended else Launch(attempt.number)
    over = seen.started and is_over(attempt, seen, now)
    if attempt.number >= most(run) or _ended_by_itself(seen) or over or seen.too_large:
        return _finish(attempt, seen, now)
    return HoldBack() if run.is_suspended else _again(attempt, seen, now)


def most(run: Run) -> int:
    """How many attempts the run may have in all."""
    return MAX_ATTEMPTS if run.backoff_limit is None else run.backoff_limit + 1


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
    if seen is not None and seen.ended and not run.status.is_between_attempts:
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
    return 0.0 if number < 2 else min(CLI_PAUSE * 2.0 ** min(number - 2, 10), LONGEST_PAUSE)


def _next(run: Run, attempt: AttemptEntry, seen: Seen) -> Cancel | HoldBack | Pause | Launch:
    """The last attempt has ended, and another one is to follow."""
    if run.is_canceled:
        return Cancel(Reason.Canceled, f"spec.cancel is true; no attempt followed attempt {attempt.number}")
    if run.is_suspended:
        return HoldBack()
    begins = run.status.next_attempt
    if begins is not None and attempt.finished is not None:
        left = (begins - attempt.finished).total_seconds() - seen.rested
        if left > 0:
            return Pause(left)
    return Launch(attempt.number + 1)


def _never_sent(attempt: AttemptEntry) -> Cancel:
    earlier = "" if attempt.number == 1 else f"attempt {attempt.number} had not begun, and "
    return Cancel(Reason.Canceled, f"spec.cancel is true; {earlier}the prompt was not sent", PromptSent.no)


def _canceling(run: Run, attempt: AttemptEntry, seen: Seen) -> EndAttempt:
    left = run.grace + CANCEL_MARGIN - seen.canceling
    then = FollowEnd(
        f"spec.cancel is true; the container is being ended, within {duration.format(run.grace)}",
        again=left if left > 0 else KILL_AGAIN,
    )
    return EndAttempt(attempt.container, "TERM" if left > 0 else "KILL", then)


def _in_time(run: Run, attempt: AttemptEntry, seen: Seen, now: datetime) -> FollowHooks | FollowAgent | EndAttempt:
    """A running attempt is followed until its timeout, or until it makes no progress, and ended in two steps then."""
    hooks = not seen.sent and bool(seen.step or run.status.reason == Reason.RunningHooks)
    kill_after = KILL_AFTER + run.grace - DEFAULT_GRACE
    overdue: list[tuple[float, Signal, tuple[float, float]]] = [
        ((_ran(seen, now) or 0.0) - attempt.timeout, "USR1", (CALL_AFTER, kill_after))
    ]
    if run.progress_timeout is not None and seen.silent is not None and not hooks:
        overdue.append((seen.silent - run.progress_timeout, "HUP", (0.0, run.grace + RECORDING)))
    ahead = [moment - over for over, _, moments in overdue for moment in moments if moment > over]
    until = min(ahead, default=KILL_AGAIN)
    then = _hooks(seen.step, until) if hooks else _agent(run, attempt, now, until)
    for over, signal, (call, kill) in overdue:
        if over >= kill:
            return EndAttempt(attempt.container, "KILL", then)
        if over >= call:
            return EndAttempt(attempt.container, signal, then)
    return then


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
    if seen.phase is Phase.running and seen.ran is not None:
        return seen.ran
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
