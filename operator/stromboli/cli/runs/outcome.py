"""What a run's status says to whoever waits for its end. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stromboli.cli import exitcodes
from stromboli.models.objects import condition, fields, text
from stromboli.reasons import RunCondition

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class State:
    """The condition `Succeeded`: its reason and message, empty before the operator has seen the run; whether the run
    has ended, and then the exit code of its outcome."""

    reason: str
    message: str
    ended: bool

    @property
    def code(self) -> int:
        return exitcodes.of_run(self.reason) if self.ended else 0

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}" if self.message else self.reason


def of(run: Object) -> State:
    """The state that a run is in."""
    found = condition(fields(run.get("status")), RunCondition.Succeeded)
    return State(text(found.get("reason")), text(found.get("message")), found.get("status") in ("True", "False"))


def name(run: Object) -> str:
    return text(fields(run.get("metadata")).get("name"))


def uid(run: Object) -> str:
    return text(fields(run.get("metadata")).get("uid"))
