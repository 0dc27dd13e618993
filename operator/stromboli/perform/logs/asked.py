"""What is asked for of a run's output, and what is answered: by steps.py and services.py, to api/logs.py."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from stromboli.attempt import records
from stromboli.errors import StromboliError

Why = Literal["invalid", "missing", "replaced", "elsewhere", "withheld"]


class NoOutput(StromboliError):
    """There is nothing to serve; the message says why."""

    def __init__(self, why: Why, message: str) -> None:
        super().__init__(message)
        self.why = why


class State(StrEnum):
    """How far the step is when an answer begins."""

    waiting = "waiting"
    running = "running"
    ended = "ended"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for: a step, or a `service` of the run's stack if that is not empty. `uid` is that of the run if it
    is not empty; `attempt` is None for the last; `limit` and `since` (seconds) are None for no limit.
    """

    step: str = records.AGENT
    service: str = ""
    uid: str = ""
    attempt: int | None = None
    offset: int = 0
    limit: int | None = None
    since: float | None = None
    follow: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What is served: `pieces` begin at `offset`, and none is empty. Without an attempt, `attempt` is 0."""

    attempt: int
    offset: int
    state: State
    pieces: AsyncIterator[bytes]
