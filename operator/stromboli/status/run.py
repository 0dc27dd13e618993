"""Transitions of a run's status. Pure: the old status and what happened go in, the new status comes out.

`Moment` carries what every transition needs. Only this module and models/run.py know the status's format in the API.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from stromboli.grammar import duration, times
from stromboli.models.agentrun import Phase, PromptSent
from stromboli.models.objects import entries, fields
from stromboli.models.objects import moment as parsed
from stromboli.models.run import Run, RunStatus
from stromboli.plan.answer import Answer
from stromboli.plan.attempt import StepRecord
from stromboli.plan.line import Waiter
from stromboli.plan.outcome import Outcome
from stromboli.plan.progress import MCPServer
from stromboli.plan.verdict import Refuse
from stromboli.reasons import AllowedReason, Reason
from stromboli.status import conditions, usage

Wire = dict[str, Any]

# The reasons for which a run waits for something missing or unavailable; `timeout` bounds such a wait.
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
_DISALLOWED = {
    Reason.ImageNotAllowed: AllowedReason.ImageNotAllowed,
    Reason.PolicyViolation: AllowedReason.PolicyViolation,
}
OUTPUT_EVERY = timedelta(seconds=30)
_PHASES = {"True": Phase.succeeded, "False": Phase.failed}


@dataclass(frozen=True, slots=True)
class Moment:
    """The current time, the node, and the generation of the spec that was processed."""

    now: datetime
    node: str
    generation: int

    @property
    def text(self) -> str:
        """In whole seconds, as conditions require."""
        return times.to_text(self.now)

    @property
    def precise(self) -> str:
        """In microseconds: many runs take less than a second."""
        return times.to_micro(self.now)


@dataclass(frozen=True, slots=True)
class UsedImage:
    """The image that a reference was resolved to. `made_of` is the id of the image that the container is created from,
    if that is a different one.
    """

    reference: str
    id: str
    digest: str | None = None
    made_of: str | None = None


def waiter(run: Run, moment: Moment) -> Waiter:
    """The run's entry in its node's start queue, ordered by creation and, within one second, by its first status."""
    return Waiter(run.created, run.status.first_seen or moment.precise, run.uid, run.namespace)


def in_line(status: RunStatus, node: str) -> RunStatus:
    """The run waits in the start queue of that node."""
    return _with(status, node=node)


def at(status: RunStatus, reason: Reason, message: str, moment: Moment) -> RunStatus:
    """The run is now in the state given by `reason`, which may be a final one."""
    new: Wire = dict(status.wire)
    new["observedGeneration"] = moment.generation
    if status.node or reason not in (Reason.Queued, Reason.Suspended):
        # A run that waits like that has no node yet: it will go to the node that has its session.
        new["node"] = status.node or moment.node
    new.setdefault("startTime", moment.precise)
    new["conditions"] = conditions.update(
        _conditions(status), reason, message, generation=moment.generation, now=moment.text
    )
    at_work = reason in (Reason.Running, Reason.Canceling)
    phase = _PHASES.get(reason.status, Phase.running if at_work else Phase.pending)
    new["phase"] = str(phase)
    if reason in WAITS:
        new["waitingSince"] = new.get("waitingSince") or moment.precise
    elif reason is not Reason.Starting:  # the start may fail for the same reason; the wait then continues
        new.pop("waitingSince", None)
    if reason.status != "Unknown":
        new["completionTime"] = moment.precise
        new.pop("nextAttemptTime", None)
        if attempts := _attempts(status):
            new["duration"] = duration.format(sum(_seconds_of(attempt, moment) for attempt in attempts))
    return RunStatus(new)


def allowed(status: RunStatus, reason: AllowedReason, message: str, moment: Moment) -> RunStatus:
    """Set `Allowed`, the policies' verdict on the run."""
    found = conditions.allowed(_conditions(status), reason, message, generation=moment.generation, now=moment.text)
    return _with(status, conditions=found)


def waited(status: RunStatus, moment: Moment) -> float:
    """Seconds since the current wait began; 0 if the run is not waiting."""
    since = status.waiting_since
    return 0.0 if since is None else max((moment.now - since).total_seconds(), 0.0)


def in_queue(status: RunStatus, session: str, ticket: str) -> RunStatus:
    """Give the run a place in a session's queue, unless it already has one."""
    if status.session is not None and status.session.ticket:
        return status
    return _with(status, session={"name": session, "ticket": ticket, **_session(status)})


def in_session(status: RunStatus, uid: str, conversation: str) -> RunStatus:
    """The run holds the session of that UID and continues that conversation."""
    return _with(status, session={**_session(status), "uid": uid, "claudeSessionID": conversation})


def begun(status: RunStatus, number: int, container: str, boot_id: str, timeout: float, moment: Moment) -> RunStatus:
    """Add an attempt that is about to be started; it may take at most `timeout` seconds."""
    attempt = {
        "number": number,
        "container": container,
        "bootID": boot_id,
        "timeout": duration.format(timeout),
        "startedAt": moment.precise,
    }
    return with_attempt(RunStatus({k: v for k, v in status.wire.items() if k != "nextAttemptTime"}), attempt)


def retrying(status: RunStatus, begins: datetime, message: str, moment: Moment) -> RunStatus:
    """The last attempt has ended, and the next one begins at that time."""
    return at(_with(status, nextAttemptTime=times.to_micro(begins)), Reason.Retrying, message, moment)


def with_output(status: RunStatus, written: datetime | None, *, exactly: bool = False) -> RunStatus:
    """The CLI was last seen to write at that time, which is recorded at most twice a minute, unless `exactly`."""
    last = status.last_output
    if written is None or (last is not None and (written <= last if exactly else written - last < OUTPUT_EVERY)):
        return status
    return _with(status, lastOutputTime=times.to_micro(written))


def with_attempt(status: RunStatus, attempt: Mapping[str, Any]) -> RunStatus:
    """Add the attempt, or replace the one with its number."""
    others = [a for a in _attempts(status) if a.get("number") != attempt["number"]]
    return _with(status, attempts=[*others, dict(attempt)])


def closed(
    status: RunStatus,
    reason: Reason,
    sent: PromptSent,
    moment: Moment,
    *,
    exit_code: int | None = None,
    finished: datetime | None = None,
) -> RunStatus:
    """The last attempt has ended; its end is that of its container, if known, or else now."""
    new = {
        **_attempts(status)[-1],
        "finishedAt": times.to_micro(finished) if finished is not None else moment.precise,
        "reason": str(reason),
        "promptSent": str(sent),
    }
    return with_attempt(status, new if exit_code is None else {**new, "exitCode": exit_code})


def given_up(
    status: RunStatus,
    reason: Reason,
    message: str,
    moment: Moment,
    exit_code: int | None,
    finished: datetime | None,
) -> RunStatus:
    """The last attempt ended with `reason` without having sent its prompt; another one will follow."""
    new = closed(status, reason, PromptSent.no, moment, exit_code=exit_code, finished=finished)
    return at(new, Reason.Starting, message, moment)


def disallowed(status: RunStatus, problem: Refuse, moment: Moment) -> RunStatus:
    """Set `Allowed` to false if it was a policy that refused the run."""
    reason = _DISALLOWED.get(problem.reason)
    return status if reason is None else allowed(status, reason, problem.message, moment)


def with_images(status: RunStatus, image: UsedImage, cli: UsedImage | None) -> RunStatus:
    """Record the image that runs, and the one that the CLI comes from."""
    new = _with(status, image=_image(image))
    return new if cli is None else _with(new, cliImage=_image(cli))


def with_steps(status: RunStatus, steps: Sequence[StepRecord]) -> RunStatus:
    """Update the steps, but only if one has begun or ended since the last update: new output alone does not count."""
    known = [(s.get("hook"), s.get("index"), s.get("state")) for s in entries(status.wire.get("steps"))]
    if known == [(s.hook, s.index, s.state) for s in steps]:
        return status
    return _with(status, steps=[_step(s) for s in steps])


def with_mcp_servers(status: RunStatus, servers: Sequence[MCPServer]) -> RunStatus:
    """Record the MCP servers, each with its state."""
    return _with(status, mcpServers=[{"name": server.name, "status": server.status} for server in servers])


def ended(
    status: RunStatus,
    outcome: Outcome,
    steps: Sequence[StepRecord],
    finished: datetime | None,
    moment: Moment,
) -> RunStatus:
    """The last attempt ended with this outcome: close its entry and record the results."""
    sent, code = outcome.prompt_sent, outcome.exit_code
    new = closed(status, outcome.reason, sent, moment, exit_code=code, finished=finished)
    if outcome.continued:
        new = with_attempt(new, {**_attempts(new)[-1], "continued": True})
    return with_outcome(new, outcome, steps)


def with_outcome(status: RunStatus, outcome: Outcome, steps: Sequence[StepRecord]) -> RunStatus:
    """Record the steps, the answer, and what it used: in the last attempt, if there is one, and in the run's sum."""
    new: Wire = {**status.wire, "steps": [_step(s) for s in steps]}
    new.pop("result", None)  # of an attempt before it
    answer = outcome.answer
    if answer is None:
        return RunStatus(new)
    if not outcome.withheld:
        new["result"] = _result(answer)
    attempts = [dict(each) for each in _attempts(status)]
    last = attempts[-1] if attempts else {}
    added = None if "usage" in last else answer  # what is recorded already is not added twice
    last["usage"] = usage.of_attempt(answer)
    if attempts:
        new["attempts"] = attempts
    used = [fields(each.get("usage")) for each in attempts or [last]]
    new["usage"] = usage.of_run(used, fields(status.wire.get("usage")), added, named=not outcome.withheld)
    return RunStatus(new)


def _result(answer: Answer) -> Wire:
    result: Wire = {"text": answer.text, "truncated": answer.truncated}
    if answer.structured is not None:
        result["structured"] = answer.structured
    if answer.is_error:
        result["isError"] = True
    if answer.denied:
        result["permissionDenials"] = [{"tool": tool, "count": n} for tool, n in answer.denied.items()]
    return result


def without_outcome(status: RunStatus) -> RunStatus:
    """The status without the parts that may be large: the steps, the answer and its usage."""
    return RunStatus({k: v for k, v in status.wire.items() if k not in ("result", "usage", "steps")})


def _with(status: RunStatus, **changed: object) -> RunStatus:
    return RunStatus({**status.wire, **changed})


def _conditions(status: RunStatus) -> Sequence[Mapping[str, Any]]:
    return tuple(entries(status.wire.get("conditions")))


def _attempts(status: RunStatus) -> Sequence[Mapping[str, Any]]:
    return tuple(entries(status.wire.get("attempts")))


def _session(status: RunStatus) -> Mapping[str, Any]:
    return fields(status.wire.get("session"))


def _image(image: UsedImage) -> Wire:
    made = {"reference": image.reference, "id": image.id, "digest": image.digest, "containerImageID": image.made_of}
    return {key: value for key, value in made.items() if value is not None}


def _step(record: StepRecord) -> dict[str, Any]:
    step: dict[str, Any] = {
        "hook": record.hook,
        "index": record.index,
        "state": str(record.state),
        "tail": record.tail,
    }
    optional = {
        "exitCode": record.exit_code,
        "startedAt": record.started_at and times.to_micro(record.started_at),
        "finishedAt": record.finished_at and times.to_micro(record.finished_at),
    }
    return step | {k: v for k, v in optional.items() if v is not None}


def _seconds_of(attempt: Mapping[str, Any], moment: Moment) -> float:
    """How long an attempt took; until now if its end is not known. Time before its start was waiting."""
    begun, end = parsed(attempt.get("startedAt")), parsed(attempt.get("finishedAt")) or moment.now
    return 0.0 if begun is None else max((end - begun).total_seconds(), 0.0)
