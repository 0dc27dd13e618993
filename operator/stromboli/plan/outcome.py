"""Decides how an ended attempt is reported, from its records: a reason, a message, the answer. Pure.

The supervisor's last record decides. If there is none, because the container was killed or the agent removed it, the
container's exit code does. Only the seals decide whether the prompt was sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from stromboli import naming
from stromboli.grammar import duration, times
from stromboli.models.agentrun import PromptSent
from stromboli.plan import answer as answers
from stromboli.plan import follow
from stromboli.plan.answer import Answer
from stromboli.plan.attempt import (
    ALREADY_STARTED,
    CLI_MISSING,
    OUT_UNUSABLE,
    SECRET_MISSING,
    WORKDIR_UNUSABLE,
    EndRecord,
    Records,
)
from stromboli.plan.redaction import Secrets
from stromboli.reasons import Reason

KILLED = 137
# A limit of the API that ends later than this after the attempt is no time to wait for.
MAX_RETRY_AFTER = timedelta(days=7)
_SHOWN_TOOLS = 8
WITHHELD = (
    "what the agent and the hooks wrote is withheld, because the operator no longer knows which secrets to remove from "
    "it: the node has restarted since the attempt began; an administrator can read it on the node"
)
_TOO_LARGE = (
    f"what ran in the container filled {naming.OUT}, which is on the node's disk and for the run's records, so the "
    "container was killed; write files into the working directory, a volume, or /tmp"
)
# The supervisor's exit codes before anything from the image has run.
_NOT_STARTED: Mapping[int, str] = {
    CLI_MISSING: "its container did not find the Claude CLI, which is mounted on the node",
    ALREADY_STARTED: "its folder had been used before",
    OUT_UNUSABLE: "nothing could be written into its folder on the node, whose disk may be full",
    SECRET_MISSING: "its secrets were gone when its container started",
}
_BY_SUBTYPE: Mapping[str, Reason] = {
    "error_max_turns": Reason.MaxTurnsReached,
    "error_max_budget_usd": Reason.BudgetExceeded,
}
_BY_ENDING: Mapping[str, Reason] = {
    "max_turns": Reason.MaxTurnsReached,
    "budget_exhausted": Reason.BudgetExceeded,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended. `withheld` means that nothing it wrote may be shown, except the numbers of its answer.

    `retry_at` is when the limit ends for which the API did not answer, if it said so; only with RateLimited.
    `continued` means that the CLI got the fixed sentence in place of the prompt.
    """

    reason: Reason
    message: str
    answer: Answer | None
    exit_code: int | None
    prompt_sent: PromptSent
    withheld: bool = False
    retry_at: datetime | None = None
    continued: bool = False

    @property
    def left_out(self) -> tuple[str, ...]:
        """A phrase for each missing part of the answer; none if the answer may not be shown."""
        return () if self.answer is None or self.withheld else self.answer.left_out


def of(
    records: Records,
    secrets: Secrets,
    *,
    container_exit: int | None,
    oom: bool,
    timeout: float,
    ran: float | None,
    too_large: bool = False,
    fail_on_denied: bool = False,
    ended: datetime | None = None,
) -> Outcome:
    """The outcome of an ended attempt, in which all `secrets` that the attempt was given are redacted.

    `oom` is what the cgroup reports. `ran` is the time in seconds from the container's start to its end, None if it is
    unknown, and `ended` that end. `too_large` says that the folder of its records exceeded its bound. `fail_on_denied`
    is `spec.failOnDenied`. Whether a structured answer is valid by `claude.jsonSchema` is judged afterwards (`unfit`).
    """
    answer = answers.parse(records.stdout, secrets)
    if records.end is not None:
        exit_code: int | None = records.end.exit_code
        reason, message = _by_record(records, records.end, answer, oom, timeout)
        if reason is Reason.Completed and answer is not None:
            reason, message = _by_answer(answer, fail_on_denied)
        if ran is not None and ran >= timeout + follow.KILL_AFTER:  # whatever the record says
            reason, message = _timed_out(timeout)
    else:
        exit_code = container_exit
        reason, message = _by_container(records, container_exit, oom, timeout, ran)
        if too_large and container_exit in follow.KILLED:
            reason, message = Reason.AgentFailed, _TOO_LARGE
    sent = prompt_sent(records, answer)
    until = None
    if reason is Reason.RateLimited and answer is not None:
        until = _retry_at(answer, ended or (records.end.at if records.end is not None else None))
        message = f"{message}; the limit ends at {times.to_text(until)}" if until is not None else message
    continued = records.sent and records.continued
    if not secrets.known and (answer is not None or records.stderr_tail or any(s.tail for s in records.steps)):
        return Outcome(reason, f"{message}; {WITHHELD}", answer, exit_code, sent, True, until, continued)
    return Outcome(reason, message, answer, exit_code, sent, retry_at=until, continued=continued)


def unfit(found: Outcome, why: str) -> Outcome:
    """The outcome of an attempt whose structured answer is not what `claude.jsonSchema` describes."""
    said = f"the agent was done, but its answer is not what claude.jsonSchema describes: {why}"
    return replace(found, reason=Reason.AgentFailed, message=f"{said}; {WITHHELD}" if found.withheld else said)


def prompt_sent(records: Records, answer: Answer | None = None) -> PromptSent:
    """Whether the prompt was sent: no if the seal is unbroken; an answer is the agent's statement that it was."""
    if not records.sent:
        return PromptSent.no
    return PromptSent.unknown if answer is None else PromptSent.yes


def _by_record(
    records: Records, end: EndRecord, answer: Answer | None, oom: bool, timeout: float
) -> tuple[Reason, str]:
    if end.cause == "hooks-timeout":
        return Reason.HookFailed, _hook_said(records, "the hooks took longer than lifecycle.hooksTimeout")
    if end.cause == "timeout":
        return _timed_out(timeout)
    if end.cause == "cancelled":
        return Reason.AgentFailed, "something other than the operator asked the container to end (SIGTERM)"
    if end.exit_code == KILLED and (end.oom or oom):
        return _out_of_memory()
    if not records.sent:
        return _never_sent(records, end)
    if answer is None or not answer.whole:
        said = f"the Claude CLI ended with exit code {end.exit_code} and no answer"
        if answer is not None:
            said += ": its output ends in the middle of the agent's work"
        return Reason.AgentFailed, _with_tail(said, records)
    if end.exit_code == 0 and not answer.failed:
        return Reason.Completed, ""
    return _failed(records, end, answer)


def _by_answer(answer: Answer, fail_on_denied: bool) -> tuple[Reason, str]:
    """The end of an agent of which the CLI says that it was successful."""
    said = f"answered in {answer.turns} turn{'s' if answer.turns != 1 else ''}"
    if answer.empty:
        return Reason.AgentFailed, "the Claude CLI says that it was successful, but the model answered nothing"
    if total := sum(answer.denied.values()):
        uses = "use was" if total == 1 else "uses were"
        said = f"{said}; {total} tool {uses} denied ({_tools(answer)})"
    if total and fail_on_denied:
        return Reason.PermissionDenied, (
            f"{said}, and spec.failOnDenied is true; allow in claude.allowedTools or claude.permissionMode what the "
            "task needs"
        )
    return Reason.Completed, said


def _tools(answer: Answer) -> str:
    names = list(answer.denied)
    more = f" and {len(names) - _SHOWN_TOOLS} more" if len(names) > _SHOWN_TOOLS else ""
    return ", ".join(names[:_SHOWN_TOOLS]) + more


def _failed(records: Records, end: EndRecord, answer: Answer) -> tuple[Reason, str]:
    if reason := _BY_SUBTYPE.get(answer.subtype) or _BY_ENDING.get(answer.ending):
        field = "claude.maxTurns" if reason is Reason.MaxTurnsReached else "claude.maxBudgetUSD"
        return reason, f"{answer.text or 'a limit was reached'}; raise {field} if the task needs more"
    said = answer.text.strip() or f"ended with exit code {end.exit_code}"
    if answer.limit is not None:
        return Reason.RateLimited, f"the Claude API did not answer because of a limit: {said}"
    return Reason.AgentFailed, _with_tail(f"the Claude CLI says: {said}", records)


def _retry_at(answer: Answer, ended: datetime | None) -> datetime | None:
    """When the API's limit ends, if it said so and that is within bounds after the attempt's end."""
    if answer.limit is None or answer.limit.until is None or ended is None:
        return None
    until = datetime.fromtimestamp(answer.limit.until, UTC)
    return until if ended < until <= ended + MAX_RETRY_AFTER else None


def _never_sent(records: Records, end: EndRecord) -> tuple[Reason, str]:
    """A hook failed, or the supervisor itself gave up, before the agent was started."""
    if records.steps:
        return Reason.HookFailed, _hook_said(records, "a hook failed")
    if end.exit_code == WORKDIR_UNUSABLE:
        return Reason.InvalidSpec, _with_tail(
            "spec.workdir: the image's user cannot create or enter it; choose a folder that it can, such as one in "
            "its home, or a mounted volume",
            records,
        )
    return Reason.AgentFailed, _with_tail(
        f"the agent was not started: the supervisor gave up with exit code {end.exit_code}", records
    )


def _hook_said(records: Records, what: str) -> str:
    """`what`, with the last hook, its exit code and its last lines."""
    if not records.steps:
        return what
    last = records.steps[-1]
    code = "" if last.exit_code is None else f", exit code {last.exit_code}"
    return _with_lines(f"{what}: {last.hook}[{last.index}]{code}", "its last lines", last.tail)


def _by_container(
    records: Records, exit_code: int | None, oom: bool, timeout: float, ran: float | None
) -> tuple[Reason, str]:
    if oom:
        return _out_of_memory()
    if ran is not None and ran >= timeout:
        return _timed_out(timeout)
    if not records.started and exit_code is not None and (why := _NOT_STARTED.get(exit_code)):
        return Reason.ContainerLost, (
            f"the agent was not started, in several attempts: {why}; the prompt was not sent; "
            "apply the run again once the node works again"
        )
    if exit_code is None or exit_code in follow.KILLED:
        code = "an unknown exit code" if exit_code is None else f"exit code {exit_code}"
        what = f"the container ended with {code} before the agent was done: it was killed or removed, or the machine "
        what += "restarted"
        again = "the prompt was not sent, in several attempts; apply the run again once the node works again"
    else:
        what = f"the container ended with exit code {exit_code} and without a record: something in it removed that"
        again = "the prompt was not sent; fix the hooks of spec.lifecycle, then apply the run again"
    if records.sent:
        again = "the prompt had been sent, or may have been, so it is not sent again by itself"
    return Reason.ContainerLost, f"{what}; {again}"


def _timed_out(timeout: float) -> tuple[Reason, str]:
    return Reason.TimedOut, (
        f"the attempt took longer than its timeout of {duration.format(timeout)}; raise spec.timeout"
    )


def _out_of_memory() -> tuple[Reason, str]:
    return (
        Reason.OutOfMemory,
        "the kernel killed the agent because its memory was used up; raise spec.resources.memory",
    )


def _with_tail(sentence: str, records: Records) -> str:
    return _with_lines(sentence, "its last lines on standard error", records.stderr_tail)


def _with_lines(sentence: str, what: str, text: str) -> str:
    tail = "\n".join(text.strip().splitlines()[-8:])
    return f"{sentence}; {what}:\n{tail}" if tail and tail not in sentence else sentence
