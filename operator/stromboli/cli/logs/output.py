"""One output of a run, read from the API server, and again from where it broke off: the read API's route `log`.

What is done with the bytes is up to the caller. An output that is followed ends when the server says that it has ended
and that nothing is left, not merely when an answer does: what stands between may end one as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from stromboli.errors import ApiRefused, ApiUnreachable
from stromboli.kube.user import Resource, Stream, User
from stromboli.naming import AGENTS_GROUP, VERSION

SILENCE = 60.0  # seconds without a byte, after which the connection is made anew: a dead one says nothing either
FIRST, LAST = 0.1, 5.0  # seconds between two attempts at a connection
TOLD = 5.0  # seconds without a connection after which that is said
PATIENCE = 30.0  # seconds for which it is tried to read the rest of what is over
_TRIES = 4  # at an output that is not followed
WAITING, ENDED = "waiting", "ended"  # values of the header; the third is `running`
NO_SUCH_STEP = (400, 404)
_RUNS = Resource("agentruns", AGENTS_GROUP, VERSION)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which output: a step of an attempt, or a service. `since` in seconds, None for all that is kept."""

    attempt: int
    step: str = ""
    service: str = ""
    since: int | None = None
    follow: bool = False

    def query(self, uid: str, offset: int | None) -> dict[str, str]:
        """`offset` is None before the first answer."""
        found = {"uid": uid, "attempt": str(self.attempt) if self.attempt else "", "service": self.service}
        found["step"] = "" if self.service else self.step
        found["follow"] = "true" if self.follow else ""
        if offset is not None:
            found["offset"] = str(offset)
        elif self.since is not None:
            found["sinceSeconds"] = str(self.since)
        return {name: value for name, value in found.items() if value}


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of an output. `missing`: so many before them are not kept, or were not asked for."""

    data: bytes
    missing: int = 0


class Log:
    """The outputs of one run, which is identified by its UID."""

    def __init__(self, user: User, namespace: str, name: str, uid: str) -> None:
        self._user = user
        self._path = _RUNS.path(namespace, name, "log")
        self._uid = uid

    def open(self, wanted: Wanted, offset: int | None) -> Stream:
        """One answer. Raises LocalFailure."""
        return self._user.stream(self._path, wanted.query(self._uid, offset), silence=SILENCE)

    def state(self, wanted: Wanted) -> str:
        """How far the step is; empty if the attempt does not have it. Raises LocalFailure."""
        query = {**wanted.query(self._uid, 0), "limitBytes": "1"}
        try:
            with self._user.stream(self._path, query, silence=SILENCE) as answer:
                return answer.headers.get("Stromboli-State", "")
        except ApiRefused as refused:
            if refused.status in NO_SUCH_STEP:
                return ""
            raise


def pieces(
    log: Log,
    wanted: Wanted,
    *,
    over: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda sentence: None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Piece]:
    """The output. Raises LocalFailure: what the server refuses; a lost connection, unless the output is followed, or if
    it is over and cannot be read for PATIENCE.

    `over` is asked where nothing came, for whatever reason: whether nothing more is written. It may raise. `say` gets a
    sentence about a connection that is lost for longer, and one when it is there again.
    """
    offset: int | None = None
    pause, tries, lost = FIRST, 0, _Lost(say, clock)
    last = False  # whether nothing more was written even before this answer
    while True:
        came, asked = False, clock()
        try:
            with log.open(wanted, offset) as answer:
                lost.again()
                state = answer.headers.get("Stromboli-State", "")
                begin = _number(answer.headers.get("Stromboli-Offset"), offset or 0)
                missing, offset = begin - (offset or 0), begin
                for data in answer:
                    came, pause, asked = True, FIRST, clock()
                    offset += len(data)
                    yield Piece(data, missing)
                    missing = 0
            # A service may write on when what is followed has ended, so there is no empty answer to wait for.
            if not wanted.follow or (state == ENDED and (wanted.service or not came)):
                return
            if not came:
                if last:
                    return
                last = over()
        except (ApiUnreachable, ApiRefused) as e:
            tries += 1
            if isinstance(e, ApiRefused) and not e.is_transient:
                over()  # raises if that is because the run is gone
                raise
            if not wanted.follow and (offset is None or tries == _TRIES):
                raise
            if isinstance(e, ApiUnreachable) and clock() - asked > SILENCE * 0.9:
                continue  # it was silent, not lost
            lost.now(e)
            if over() and lost.seconds > PATIENCE:
                raise
        if not came:
            sleep(pause)
            pause = min(pause * 2, LAST)


class _Lost:
    """Says so if a connection is lost for long, once."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._say, self._clock = say, clock
        self._since: float | None = None
        self._said = False

    def now(self, error: Exception) -> None:
        self._since = self._clock() if self._since is None else self._since
        if not self._said and self._clock() - self._since >= TOLD:
            self._said = True
            message = error.message if isinstance(error, ApiRefused) else str(error).partition("\n")[0]
            self._say(f"the log cannot be read: {message}; trying again")

    @property
    def seconds(self) -> float:
        return 0.0 if self._since is None else self._clock() - self._since

    def again(self) -> None:
        if self._said:
            self._say("the log can be read again")
        self._since, self._said = None, False


def _number(value: str | None, otherwise: int) -> int:
    return int(value) if value is not None and value.isascii() and value.isdigit() and len(value) < 20 else otherwise
