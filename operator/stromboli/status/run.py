"""A run's status, from one state to the next. Pure: old status and what happened go in, the new status comes out.

Statuses are plain dicts as they stand on the wire. `Moment` carries what every transition needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stromboli.errors import Refused
from stromboli.grammar import duration, times
from stromboli.models.agentrun import PromptSent
from stromboli.plan.attempt import StepRecord
from stromboli.plan.line import Waiter
from stromboli.plan.outcome import Outcome
from stromboli.plan.progress import MCPServer
from stromboli.reasons import AllowedReason, Reason
from stromboli.status import conditions

Status = dict[str, Any]

# While one of these holds, the run waits for something missing or away, and `timeout` bounds the wait.
WAITS = frozenset(
    {
        Reason.WaitingForReference,
        Reason.CLIImageUnavailable,
        Reason.PodmanUnavailable,
        Reason.RegistryUnavailable,
        Reason.NodeOutOfDisk,
        Reason.Pulling,
    }
)
COST_DIGITS = 6  # after the point: a sum of binary fractions ends in ...99999998
_PHASES = {"True": "Succeeded", "False": "Failed"}


@dataclass(frozen=True, slots=True)
class Moment:
    """Now, on which node, and which generation of the spec was looked at."""

    now: datetime
    node: str
    generation: int

    @property
    def text(self) -> str:
        """In whole seconds, as conditions have it."""
        return times.to_text(self.now)

    @property
    def precise(self) -> str:
        """In microseconds: many a run is shorter than a second."""
        return times.to_micro(self.now)


def is_finished(status: Mapping[str, Any]) -> bool:
    """Whether the run has ended: its status never changes again."""
    succeeded = conditions.find(status.get("conditions") or [], "Succeeded")
    return succeeded is not None and succeeded.get("status") in ("True", "False")


def is_being_deleted(obj: Mapping[str, Any]) -> bool:
    """Whether the object is being deleted: somebody's finalizer may hold it, but its container has to end now."""
    return obj["metadata"].get("deletionTimestamp") is not None


def is_kept(obj: Mapping[str, Any]) -> bool:
    """Whether the run's session outlives it."""
    return bool(obj["spec"].get("session"))


def session_of(obj: Mapping[str, Any]) -> str:
    """The UID of the session that a run has: its own has the run's."""
    found: str = ((obj.get("status") or {}).get("session") or {}).get("uid") or obj["metadata"]["uid"]
    return found


def reason_of(status: Mapping[str, Any]) -> str:
    """The reason of `Succeeded`, or an empty string before the first."""
    succeeded = conditions.find(status.get("conditions") or [], "Succeeded")
    return "" if succeeded is None else str(succeeded.get("reason", ""))


def message_of(status: Mapping[str, Any]) -> str:
    """The message of `Succeeded`, or an empty string before the first."""
    succeeded = conditions.find(status.get("conditions") or [], "Succeeded")
    return "" if succeeded is None else str(succeeded.get("message", ""))


def is_in_line(status: Mapping[str, Any]) -> bool:
    """Whether the run waits for its start on its node. One that is queued for a session has no node yet."""
    return reason_of(status) == Reason.Queued and bool(status.get("node")) and not status.get("attempts")


def waiter(obj: Mapping[str, Any], moment: Moment) -> Waiter:
    """The run's place in the line of its node is by its creation, and within one second by its first status."""
    meta, since = obj["metadata"], (obj.get("status") or {}).get("startTime") or moment.precise
    return Waiter(meta["creationTimestamp"], str(since), meta["uid"], meta["namespace"])


def at(status: Mapping[str, Any], reason: Reason, message: str, moment: Moment) -> Status:
    """The run is now at `reason`, which may be an end."""
    new: Status = dict(status)
    new["observedGeneration"] = moment.generation
    if status.get("node") or reason is not Reason.Queued:
        # One that is queued is nobody's yet: it goes to the node that has its session.
        new["node"] = status.get("node") or moment.node
    new.setdefault("startTime", moment.precise)
    new["conditions"] = conditions.update(
        status.get("conditions") or [], reason, message, generation=moment.generation, now=moment.text
    )
    new["phase"] = _PHASES.get(reason.status, "Running" if reason is Reason.Running else "Pending")
    if reason in WAITS:
        new["waitingSince"] = status.get("waitingSince") or moment.precise
    elif reason is not Reason.Starting:  # a start may fail for want of the same thing: the wait goes on then
        new.pop("waitingSince", None)
    if reason.status != "Unknown":
        new["completionTime"] = moment.precise
        if attempts := status.get("attempts"):
            new["duration"] = duration.format(sum(_seconds_of(attempt, moment) for attempt in attempts))
    return new


def allowed(status: Mapping[str, Any], reason: AllowedReason, message: str, moment: Moment) -> Status:
    """The policies' word about the run."""
    new: Status = dict(status)
    new["conditions"] = conditions.allowed(
        status.get("conditions") or [], reason, message, generation=moment.generation, now=moment.text
    )
    return new


def waited(status: Mapping[str, Any], moment: Moment) -> float:
    """Seconds since the present wait began; 0 if the run does not wait."""
    since = status.get("waitingSince")
    return _seconds_since(since, moment) if since else 0.0


def with_attempt(status: Mapping[str, Any], attempt: Mapping[str, Any]) -> Status:
    """The attempt added, or replaced by its number."""
    others = [a for a in status.get("attempts") or [] if a["number"] != attempt["number"]]
    return {**status, "attempts": [*others, dict(attempt)]}


def closed(
    attempt: Mapping[str, Any],
    reason: Reason,
    sent: PromptSent,
    moment: Moment,
    *,
    exit_code: int | None = None,
    finished: datetime | None = None,
) -> dict[str, Any]:
    """An attempt's entry, ended: when its container did, as far as anybody knows."""
    new = {
        **attempt,
        "finishedAt": times.to_micro(finished) if finished is not None else moment.precise,
        "reason": str(reason),
        "promptSent": str(sent),
    }
    return new if exit_code is None else {**new, "exitCode": exit_code}


def given_up(
    status: Mapping[str, Any],
    reason: Reason,
    message: str,
    moment: Moment,
    exit_code: int | None,
    finished: datetime | None,
) -> Status:
    """The last attempt never sent its prompt, and ended for `reason`: another comes."""
    last = closed(status["attempts"][-1], reason, PromptSent.no, moment, exit_code=exit_code, finished=finished)
    return at(with_attempt(status, last), Reason.Starting, message, moment)


def disallowed(status: Mapping[str, Any], problem: Refused, moment: Moment) -> Status:
    """`Allowed` says so too where it was a policy that refused."""
    if problem.reason not in (Reason.ImageNotAllowed, Reason.PolicyViolation):
        return dict(status)
    return allowed(status, AllowedReason(problem.reason.value), problem.message, moment)


def with_images(status: Mapping[str, Any], image: Mapping[str, Any], cli: Mapping[str, Any] | None) -> Status:
    """What runs, and where the CLI comes from."""
    new = {**status, "image": dict(image)}
    return {**new, "cliImage": dict(cli)} if cli else new


def with_steps(status: Mapping[str, Any], steps: Sequence[StepRecord]) -> Status:
    """The steps so far, where one has begun or ended since they were last told: what a step writes is told then."""
    told = [(s["hook"], s["index"], s["state"]) for s in status.get("steps") or []]
    if told == [(s.hook, s.index, s.state) for s in steps]:
        return dict(status)
    return {**status, "steps": [_step(s) for s in steps]}


def mcp_servers_of(status: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the MCP servers that the status has."""
    return tuple(server["name"] for server in status.get("mcpServers") or [])


def with_mcp_servers(status: Mapping[str, Any], servers: Sequence[MCPServer]) -> Status:
    """The MCP servers, and how each fared."""
    return {**status, "mcpServers": [{"name": server.name, "status": server.status} for server in servers]}


def ended(
    status: Mapping[str, Any],
    outcome: Outcome,
    steps: Sequence[StepRecord],
    finished: datetime | None,
    moment: Moment,
) -> Status:
    """The last attempt ended so: its entry, and what came of it."""
    sent, code = outcome.prompt_sent, outcome.exit_code
    last = closed(status["attempts"][-1], outcome.reason, sent, moment, exit_code=code, finished=finished)
    return with_outcome(with_attempt(status, last), outcome, steps)


def with_outcome(status: Mapping[str, Any], outcome: Outcome, steps: Sequence[StepRecord]) -> Status:
    """The steps, the answer and what it took."""
    new: Status = {**status, "steps": [_step(s) for s in steps]}
    answer = outcome.answer
    if answer is None:
        return new
    if not outcome.withheld:
        new["result"] = {"text": answer.text, "truncated": answer.truncated}
        if answer.structured is not None:
            new["result"]["structured"] = answer.structured
    new["usage"] = {
        "turns": answer.turns,
        "inputTokens": answer.input_tokens,
        "outputTokens": answer.output_tokens,
        "cacheReadTokens": answer.cache_read_tokens,
        "cacheCreationTokens": answer.cache_creation_tokens,
        "costUSD": round(answer.cost_usd, COST_DIGITS),
    }
    return new


def _step(record: StepRecord) -> dict[str, Any]:
    step: dict[str, Any] = {
        "hook": record.hook,
        "index": record.index,
        "state": record.state,
        "tail": record.tail,
    }
    optional = {
        "exitCode": record.exit_code,
        "startedAt": record.started_at and times.to_micro(record.started_at),
        "finishedAt": record.finished_at and times.to_micro(record.finished_at),
    }
    return step | {k: v for k, v in optional.items() if v is not None}


def _seconds_of(attempt: Mapping[str, Any], moment: Moment) -> float:
    """How long an attempt took, until now where its end is not known. What came before it was waiting."""
    end = times.from_text(attempt["finishedAt"]) if attempt.get("finishedAt") else moment.now
    return max((end - times.from_text(attempt["startedAt"])).total_seconds(), 0.0)


def _seconds_since(text: str, moment: Moment) -> float:
    return max((moment.now - times.from_text(text)).total_seconds(), 0.0)
