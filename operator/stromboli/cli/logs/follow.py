"""Shows a run's output, as it is now or as it goes on, to the run's end: `stromboli logs` and `stromboli run`.

A run that is followed is identified by its UID: one that takes its name later is another one. While it waits, its
conditions are shown; then the steps of its attempts, one attempt after the other; at the end, how it ended.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass

from stromboli.cli.logs import output
from stromboli.cli.logs import state as states
from stromboli.cli.logs.output import Log, Wanted
from stromboli.cli.logs.screen import Screen
from stromboli.cli.logs.state import AGENT, Attempt, State
from stromboli.cli.runs import reading
from stromboli.errors import ApiRefused, LocalFailure
from stromboli.kube import states as watched
from stromboli.kube.user import RUNS, Object, User
from stromboli.reasons import Reason

UNSEEN = 10.0  # seconds without a status after which it is said that no operator has seen the run
LAST_LOOK = 5.0  # seconds at most for what became of a run that is gone
_MOST_PAUSE = 1.0  # seconds between two looks at which hooks have begun
_NOT_FOUND, _WITHHELD = 404, 410
_SHOWN_BY_OUTPUT = (Reason.Starting, Reason.RunningHooks, Reason.Running)


class Gone(LocalFailure):
    """The run that was followed is not there any more."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What of a run is shown. By default its hooks and its agent, of the last attempt and those that follow."""

    step: str = ""
    service: str = ""
    attempt: int = 0
    since: int | None = None
    only_agent: bool = False


def show(user: User, namespace: str, name: str, screen: Screen, chosen: Chosen) -> None:
    """What there is of a run's output. Raises LocalFailure, also if the run has not started."""
    state = states.of(reading.run(user, namespace, name))
    if not state.attempts:
        if state.finished:
            raise LocalFailure(f"{namespace}/{name} ended before it started an agent: {state.sentence}")
        raise LocalFailure(
            f"{namespace}/{name} has not started yet: {state.sentence}", f"`stromboli logs -f {name}` waits for it"
        )
    run = _Run(user, namespace, name, state.uid, screen, chosen)
    with _ended(screen):
        run.attempt(state, chosen.attempt or state.last, follow=False)


def follow(
    user: User, namespace: str, name: str, screen: Screen, chosen: Chosen | None = None, *, uid: str = ""
) -> Object:
    """Show a run's output until it has ended, and return the run as it is then. With an attempt chosen, to the end of
    that one. `uid`: only if the run has it.

    Raises Gone if the run was deleted, and other LocalFailures.
    """
    with _ended(screen):
        return _Run(user, namespace, name, uid, screen, chosen or Chosen()).followed()


@contextmanager
def _ended(screen: Screen) -> Iterator[None]:
    """Whatever happens, the last line on the screen has an end."""
    try:
        yield
    except BaseException:  # an interruption, too
        screen.break_off()
        raise


class _Run:
    def __init__(self, user: User, namespace: str, name: str, uid: str, screen: Screen, chosen: Chosen) -> None:
        self._user, self._namespace, self._name, self._uid = user, namespace, name, uid
        self._screen, self._chosen = screen, chosen
        self._version = ""  # of the run, as it was last seen

    def followed(self) -> Object:
        """The run as it is in the end, also if it is deleted right after that (`ttlSecondsAfterFinished: 0`)."""
        try:
            return self._followed()
        except Gone:
            if (run := self._ended()) is None:
                raise
            self._screen.note(states.of(run).sentence)
            return run

    def _followed(self) -> Object:
        shown: int | None = None
        while True:
            run = self._waited(shown)
            state = states.of(run)
            following = self._next(state, shown)
            if following is None:
                self._screen.note(state.sentence)
                return run
            if shown is None and self._chosen.only_agent and state.reason == Reason.RunningHooks:
                self._screen.condition(state.reason, state.message)
            if shown is not None and (said := states.begins(state, following.number)):
                self._screen.note(said)
            self.attempt(state, following.number, follow=True)
            if self._chosen.attempt or self._chosen.service:
                return self._now()
            shown = following.number

    def attempt(self, state: State, attempt: int, *, follow: bool) -> None:
        """The steps of one attempt."""
        log = Log(self._user, self._namespace, self._name, state.uid)
        steps = self._steps(log, state, attempt, follow=follow)
        for step in steps:
            wanted = Wanted(attempt, step, self._chosen.service, self._chosen.since, follow)
            self._screen.begin(step, f"-- {step}" if step != AGENT and len(steps) > 1 else "")
            try:
                found = output.pieces(log, wanted, over=lambda: self._over(attempt), say=self._screen.note)
                for number, piece in enumerate(found):
                    if piece.missing and (number or wanted.since is None):
                        self._screen.note(f"-- {piece.missing:,} bytes before this are no longer kept")
                    self._screen.piece(piece)
            except ApiRefused as refused:
                if refused.status == _WITHHELD and follow:
                    self._screen.note(refused.message)
                elif refused.status not in output.NO_SUCH_STEP or step == AGENT or len(steps) == 1:
                    raise  # otherwise the attempt does not have this hook
            self._screen.end()

    def _steps(self, log: Log, state: State, attempt: int, *, follow: bool) -> tuple[str, ...]:
        """The steps to show, in order. Some hooks run only in a session's first run: they are not waited for once one
        that comes after them has begun.
        """
        if self._chosen.service or self._chosen.step:
            return (self._chosen.step,)
        if self._chosen.only_agent or self._chosen.since is not None:  # nobody knows how old a hook's output is
            return (AGENT,)
        if not follow or not state.once:
            return (*state.hooks, AGENT)
        first, later = (Wanted(attempt, step) for step in (state.once[0], (*state.always, AGENT)[0]))
        pause = output.FIRST
        while True:
            try:
                if log.state(first) not in (output.WAITING, ""):
                    return (*state.hooks, AGENT)
                if log.state(later) not in (output.WAITING, "") or self._over(attempt):
                    return (*state.always, AGENT)
            except LocalFailure:
                return (*state.hooks, AGENT)  # whatever it is, it is met again, and said, when the output is read
            time.sleep(pause)
            pause = min(pause * 2, _MOST_PAUSE)

    def _waited(self, shown: int | None) -> Object:
        """The run, as soon as it has an attempt after those that were shown, or has ended."""
        for until in (time.monotonic() + UNSEEN, None):
            state = None
            known, names = bool(self._uid), (self._namespace, self._name)
            with closing(watched.states(self._user, RUNS, *names, until=until, known=known)) as found:
                for run in found:
                    state = self._checked(run)
                    if run is not None and (state.finished or self._next(state, shown) is not None):
                        return run
                    if state.reason not in _SHOWN_BY_OUTPUT:
                        self._screen.condition(state.reason, state.message)
            if state is not None and not state.reason:
                self._screen.note(f"{state.sentence}; is it running?")
        raise AssertionError("it is watched without an end")

    def _next(self, state: State, shown: int | None) -> Attempt | None:
        if shown is not None:
            return state.after(shown)
        if self._chosen.attempt:
            return state.attempt(self._chosen.attempt)
        return state.attempts[-1] if state.attempts else None

    def _now(self) -> Object:
        try:
            run = self._user.get(RUNS, self._namespace, self._name)
        except ApiRefused as refused:
            if refused.status != _NOT_FOUND:
                raise
            raise self._gone("was deleted") from refused
        self._checked(run)
        return run

    def _over(self, attempt: int) -> bool:
        """Whether the attempt has ended, so that nothing of it is still to be written."""
        try:
            state = states.of(self._now())
        except Gone:
            raise
        except LocalFailure:
            return False  # as for the log, the API server is asked again
        found = state.attempt(attempt)
        return state.finished or state.after(attempt) is not None or (found is not None and found.reason != "")

    def _checked(self, run: Object | None) -> State:
        """The state of the run that is followed. Raises Gone if there is another one now, or none."""
        if run is None:
            raise self._gone("was deleted") if self._uid else reading.missing(self._namespace, self._name)
        state = states.of(run)
        self._uid = self._uid or state.uid
        if state.uid != self._uid:
            raise self._gone("was deleted, and there is another run of that name now")
        self._version = state.version
        return state

    def _ended(self) -> Object | None:
        """The end of a run that was deleted since it was last seen, which the API server remembers for minutes."""
        if not self._version:
            return None
        with suppress(LocalFailure):
            found = watched.changes(
                self._user, RUNS, self._namespace, self._version, name=self._name, seconds=LAST_LOOK
            )
            for kind, run in found:
                state = states.of(run)
                if state.uid == self._uid and (state.finished or kind == "DELETED"):
                    return run if state.finished else None
        return None

    def _gone(self, what: str) -> Gone:
        return Gone(f"AgentRun {self._namespace}/{self._name} {what}")
