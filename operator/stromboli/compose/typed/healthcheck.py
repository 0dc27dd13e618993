"""`healthcheck`: how a service is checked. What it leaves out, or sets to 0, is the image's own."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, model_validator

from stromboli.compose import stack
from stromboli.compose.typed.base import Obeyed, Strict, Wrong
from stromboli.compose.typed.values import Boolean, each, integer, seconds, text

SHORTEST = 0.5
"""Seconds between two checks: each takes Podman about a tenth of one."""

_LONGEST = 7 * 24 * 3600.0
_MOST_RETRIES = 100_000
_KINDS = ("NONE", "CMD", "CMD-SHELL")


def _test(value: object) -> tuple[str, ...]:
    words = ("CMD-SHELL", value) if isinstance(value, str) else each(text)(value)
    if not words:
        return ()
    if words[0] not in _KINDS:
        raise ValueError(f'has to begin with one of {", ".join(_KINDS)}, such as ["CMD", "pg_isready"]')
    if words[0] != "NONE" and (len(words) < 2 or not words[1].strip()):
        raise ValueError("has no command after its first word")
    return words


def _time(value: object) -> float:
    found = seconds(value)
    if found > _LONGEST:
        raise ValueError("is longer than a week")
    return found


def _pause(value: object) -> float:
    found = _time(value)
    if 0 < found < SHORTEST:
        raise ValueError(f"is shorter than {SHORTEST:g}s: checks without a pause would keep the node busy")
    return found


def _retries(value: object) -> int:
    found = integer(value)
    if not 0 <= found <= _MOST_RETRIES:
        raise ValueError(f"has to be between 0 and {_MOST_RETRIES}")
    return found


Pause = Annotated[float, BeforeValidator(_pause)]
Time = Annotated[float, BeforeValidator(_time)]


class HealthCheck(Strict):
    """A health check."""

    test: Annotated[
        Annotated[tuple[str, ...], BeforeValidator(_test)] | None,
        Obeyed("Text is a command for a shell; a list begins with `NONE`, `CMD` or `CMD-SHELL`."),
    ] = None
    disable: Annotated[Boolean, Obeyed("Like `test: [NONE]`.")] = False
    interval: Annotated[Pause | None, Obeyed(f"At least {SHORTEST:g}s.")] = None
    timeout: Annotated[Time | None, Obeyed()] = None
    retries: Annotated[Annotated[int, BeforeValidator(_retries)] | None, Obeyed()] = None
    start_period: Annotated[Time | None, Obeyed()] = None
    start_interval: Annotated[Pause | None, Obeyed("Only with `start_period`.")] = None

    @model_validator(mode="after")
    def _whole(self) -> HealthCheck:
        if self.start_interval and not self.start_period:
            raise Wrong(
                ("start_interval",), "has no effect without start_period, and Compose refuses it; set that, too"
            )
        return self

    def typed(self) -> stack.HealthCheck:
        test = ("NONE",) if self.disable or (self.test and self.test[0] == "NONE") else self.test
        return stack.HealthCheck(
            test=test or None,
            interval=self.interval or None,
            timeout=self.timeout or None,
            retries=self.retries or None,
            start_period=self.start_period or None,
            start_interval=self.start_interval or None,
        )
