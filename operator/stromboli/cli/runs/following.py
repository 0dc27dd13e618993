"""Following a run to its end: what it shows meanwhile, the exit code of its outcome, and what ^C does.

The first ^C sets `spec.cancel`, and the run is followed on, since it may spend until it has ended. The second one ends
the following, and leaves the run to the operator.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from types import FrameType

from stromboli import visible
from stromboli.cli import exitcodes
from stromboli.cli.logs import follow
from stromboli.cli.logs.screen import Screen
from stromboli.cli.outage import Outage
from stromboli.cli.runs import outcome
from stromboli.errors import LocalFailure
from stromboli.kube.states import states
from stromboli.kube.user import RUNS, Object, User

_STDERR = 2
Follow = Callable[[User, str, str, str], Object]  # of namespace, name and UID: the run as it is in the end


class Deleted(LocalFailure):
    """The run that is followed was deleted."""

    def __init__(self, namespace: str, name: str) -> None:
        super().__init__(f"AgentRun {namespace}/{name} was deleted", code=exitcodes.CANCELED)


class Detached(LocalFailure):
    """The run is followed no longer, and goes on."""

    def __init__(self, namespace: str, name: str, *, canceling: bool) -> None:
        goes_on = "it is being canceled" if canceling else "it goes on"
        super().__init__(
            f"AgentRun {namespace}/{name} is no longer followed, and {goes_on}",
            f"`stromboli logs -f {name} -n {namespace}` follows it again; `stromboli wait {name} -n {namespace}` waits"
            f" for its end" + ("" if canceling else f"; `stromboli cancel {name} -n {namespace}` stops it"),
            exitcodes.DETACHED,
        )


class Following:
    """A run that is about to be created, and is followed then. A context manager for what ^C does."""

    def __init__(self, user: User, namespace: str) -> None:
        self._user, self._namespace = user, namespace
        self._name = ""
        self._interrupts = 0
        self._canceling = False

    def __enter__(self) -> Following:
        self._before = signal.getsignal(signal.SIGINT)
        if self._before is not signal.SIG_IGN:  # it is in the background
            signal.signal(signal.SIGINT, self._interrupted)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def to_the_end(self, run: Object, shown: Follow) -> Object:
        """The run as it is in the end; `shown` shows it meanwhile. Raises LocalFailure."""
        self._name = outcome.name(run)
        try:
            if self._interrupts:  # while it was created
                self._cancel()
            return shown(self._user, self._namespace, self._name, outcome.uid(run))
        except KeyboardInterrupt:  # the second ^C; or a closed terminal, or a `kill`
            raise Detached(self._namespace, self._name, canceling=self._canceling) from None

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        self._interrupts += 1
        if self._interrupts > 1:
            raise KeyboardInterrupt
        if self._name:
            self._cancel()

    def _cancel(self) -> None:
        """Also called from a signal's handler: so it writes past the buffers, and raises nothing but a second ^C."""
        run = f"AgentRun {self._namespace}/{self._name}"
        _tell(f"canceling {run}; ^C again leaves that to the operator")
        try:
            self._user.patch(RUNS, self._namespace, self._name, {"spec": {"cancel": True}})
            self._canceling = True
        except LocalFailure as e:
            _tell(f"{run} could not be canceled: {e}")


def conversation(user: User, namespace: str, name: str, uid: str) -> Object:
    """Follow a run to its end by what it says. If that cannot be read, by its conditions: its outcome counts."""
    try:
        return follow.follow(user, namespace, name, Screen(live=True), uid=uid)
    except follow.Gone:
        raise Deleted(namespace, name) from None
    except LocalFailure as e:
        _tell(f"what the agent says cannot be shown: {e}")
        return conditions(user, namespace, name, uid)


def conditions(user: User, namespace: str, name: str, uid: str) -> Object:
    """Follow a run to its end by its conditions alone: a line on standard error whenever its reason changes."""
    return ended(user, namespace, name, uid, _tell)


def ended(
    user: User, namespace: str, name: str, uid: str, say: Callable[[str], None] = lambda sentence: None
) -> Object:
    """The run as it is in the end. Raises LocalFailure."""
    shown, outage = "", Outage(_tell)
    for run in states(user, RUNS, namespace, name, known=True, lost=outage.lost):
        outage.over()
        if run is None or outcome.uid(run) != uid:
            raise Deleted(namespace, name)
        now = outcome.of(run)
        if now.reason not in ("", shown):
            shown = now.reason
            say(str(now))
        if now.ended:
            return run
    raise AssertionError("the states of an object do not end by themselves")


def _tell(text: str) -> None:
    """A line on standard error, past Python's buffers: they cannot be entered from a handler that interrupts them."""
    with contextlib.suppress(OSError):
        os.write(_STDERR, f"stromboli: {visible.text(text)}\n".encode("utf-8", "replace"))
