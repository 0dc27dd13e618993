"""What a run's object says to whoever follows the run. Pure; parsing never raises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stromboli.models.objects import condition, entries, fields, number, text
from stromboli.reasons import RunCondition

AGENT = "agent"  # the step that is the Claude CLI
# The fields of `lifecycle` in which a hook's commands stand, in order, by the hook's name.
_ONCE = {
    "onCreateCommand": ("onCreateCommand", "updateContentCommand"),
    "postCreate": ("postCreate", "postCreateCommand"),
}
_ALWAYS = {"postStart": ("postStart", "postStartCommand")}


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that is recorded; its `reason` is empty until it has ended. `sent` is Yes, No, Unknown or empty."""

    number: int
    reason: str
    sent: str


@dataclass(frozen=True, slots=True)
class State:
    """A run. `reason` and `message` are those of `Succeeded`, empty if no operator has seen the run yet.

    Its spec has `hooks` before the agent, of which those in `once` run only in a session's first run.
    """

    uid: str
    version: str
    reason: str
    message: str
    finished: bool
    attempts: tuple[Attempt, ...]
    once: tuple[str, ...]
    always: tuple[str, ...]

    @property
    def hooks(self) -> tuple[str, ...]:
        return (*self.once, *self.always)

    @property
    def last(self) -> int:
        """The number of the last attempt, 0 if there is none."""
        return self.attempts[-1].number if self.attempts else 0

    @property
    def sentence(self) -> str:
        """Its reason and message."""
        if not self.reason:
            return "no operator has seen the run yet"
        return f"{self.reason}: {self.message}" if self.message else self.reason

    def attempt(self, wanted: int) -> Attempt | None:
        return next((each for each in self.attempts if each.number == wanted), None)

    def after(self, wanted: int) -> Attempt | None:
        """The first attempt with a higher number."""
        return next((each for each in self.attempts if each.number > wanted), None)


def of(run: Mapping[str, Any]) -> State:
    """What an AgentRun in API form says."""
    status = fields(run.get("status"))
    lifecycle = fields(fields(run.get("spec")).get("lifecycle"))
    succeeded = condition(status, RunCondition.Succeeded)
    return State(
        uid=text(fields(run.get("metadata")).get("uid")),
        version=text(fields(run.get("metadata")).get("resourceVersion")),
        reason=text(succeeded.get("reason")),
        message=text(succeeded.get("message")),
        finished=succeeded.get("status") in ("True", "False"),
        attempts=tuple(
            Attempt(number(entry.get("number")), text(entry.get("reason")), text(entry.get("promptSent")))
            for entry in entries(status.get("attempts"))
        ),
        once=tuple(_hooks(lifecycle, _ONCE)),
        always=tuple(_hooks(lifecycle, _ALWAYS)),
    )


def begins(state: State, wanted: int) -> str:
    """A sentence about an attempt that follows another one; empty for the first."""
    before = next((each for each in reversed(state.attempts) if each.number < wanted), None)
    if before is None:
        return ""
    sent = {"Yes": "; its prompt was sent", "No": "; its prompt was not sent"}.get(before.sent, "")
    why = f": attempt {before.number} ended as {before.reason}{sent}" if before.reason else ""
    return f"attempt {wanted} begins{why}"


def _hooks(lifecycle: Mapping[str, Any], names: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for name, places in names.items():
        lists = (lifecycle.get(place) for place in places)
        count = sum(len(commands) for commands in lists if isinstance(commands, list | tuple))
        yield from (f"{name}[{index}]" for index in range(count))
