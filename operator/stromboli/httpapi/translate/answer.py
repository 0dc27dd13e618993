"""An AgentRun that has ended → the answer to the call that made it. Pure.

Clients repeat a call that is answered with a 5xx, so none is once the prompt may have been sent.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping

from stromboli import visible
from stromboli.httpapi.errors import Refusal
from stromboli.httpapi.shapes.run import CrashInfo, RunAnswer, RunStatus, Usage
from stromboli.httpapi.translate import fields
from stromboli.models import objects
from stromboli.models.agentrun import PromptSent
from stromboli.models.objects import entries, number, text
from stromboli.models.run import Run
from stromboli.plan import answer as answers
from stromboli.plan import answered
from stromboli.plan.refusal import AFTERWARDS
from stromboli.reasons import Reason

# By the reason with which a run has ended.
_ENDS: Mapping[str, int] = {
    Reason.Completed: 200,
    Reason.Canceled: 200,
    Reason.AgentFailed: 200,
    Reason.PermissionDenied: 200,
    Reason.MaxTurnsReached: 200,
    Reason.BudgetExceeded: 200,
    Reason.RateLimited: 200,
    Reason.NoProgress: 200,
    Reason.HookFailed: 200,
    Reason.ServiceFailed: 200,
    Reason.OutOfMemory: 200,
    Reason.ContainerLost: 200,
    Reason.InvalidSpec: 400,
    Reason.ImageNotAllowed: 400,
    Reason.ImageIncompatible: 400,
    Reason.PolicyViolation: 400,
    Reason.TimedOut: 408,
    Reason.ImagePullFailed: 502,
    Reason.CredentialsMissing: 503,
}
# By what a run has waited for until its timeout was over; 408 where it is not a part of the service that is missing.
_WAITS: Mapping[str, int] = {
    Reason.PodmanUnavailable: 503,
    Reason.CLIImageUnavailable: 503,
    Reason.NodeOutOfDisk: 503,
    Reason.RegistryUnavailable: 502,
}
# The same for a call that does not wait so long: by what a run waits for before its prompt was sent.
MISSING: Mapping[str, int] = {Reason.WaitingForReference: 400, **_WAITS}
_ACCEPTED = 202


def http_status(run: Run) -> int:
    """The status of the answer; 202 for a run that has not ended."""
    if not run.status.is_finished:
        return _ACCEPTED
    found = _ENDS.get(run.status.reason, 200)
    found = _WAITS.get(answered.waited_for(run), found)
    return 200 if found >= 500 and may_have_been_sent(run) else found


def may_have_been_sent(run: Run) -> bool:
    """Whether the prompt may have been sent: each attempt has to say that it was not."""
    return any(attempt.sent != PromptSent.no for attempt in run.status.attempts)


def of_run(run: Run, output: str | None = None) -> RunAnswer:
    """The answer of a run that has ended with a status of 200; `output` if it is not what the status has of it.

    Raises Refusal for one that has not.
    """
    if (refused := refusal(run)) is not None:
        raise refused
    return RunAnswer(
        id=run.name,
        status=_word(run),
        output=(answered.output(run) or None) if output is None else output,
        structured_output=_result(run).get("structured"),
        error=error(run) or None,
        session_id=answered.session_id(run) or None,
        usage=usage(run),
        crash_info=crash_info(run),
    )


def refusal(run: Run) -> Refusal | None:
    """The error as which a run's end is answered; None for an end with a status of 200, or none yet."""
    status = http_status(run)
    if status in (200, _ACCEPTED):
        return None
    return _refusal(run, status, error(run))


def missing(run: Run) -> Refusal:
    """The error for a run that was canceled because of what it waited for, which is one of MISSING; the run as it was
    when it still waited.
    """
    said = (
        f"{answered.wait_text(run)}; the run {run.name} was canceled before its prompt was sent, so it is safe to try "
        "again"
    )
    return _refusal(run, MISSING[run.status.reason], said)


def _refusal(run: Run, status: int, said: str) -> Refusal:
    """What is said of the run, with its fields as the request calls them."""
    names = tuple(text(variable.get("name")) for variable in entries(run.spec.get("env")))
    field, why = fields.sentence(said, names)
    details = {"id": run.name}
    if session := answered.session_id(run):
        details["session_id"] = session
    if field:
        details["field"] = field
    return Refusal(status, f"{field}: {why}" if field else why, run.status.reason, details)


def usage(run: Run) -> Usage | None:
    """What the run used in all its attempts; None if the CLI did not say."""
    used = objects.fields(run.status.wire.get("usage"))
    if not used:
        return None
    counts = {ours: number(used.get(theirs)) for ours, theirs in _COUNTS.items()}
    models = {text(each.get("model")): number(each.get("outputTokens")) for each in entries(used.get("models"))}
    return Usage(
        model=max(models, key=lambda name: models[name], default=None),
        total_tokens=sum(counts.values()),
        estimated_cost_usd=_amount(used.get("costUSD")),
        **counts,
    )


_COUNTS = {
    "input_tokens": "inputTokens",
    "output_tokens": "outputTokens",
    "cache_creation_input_tokens": "cacheCreationTokens",
    "cache_read_input_tokens": "cacheReadTokens",
}


def crash_info(run: Run) -> CrashInfo | None:
    """How the agent was ended, if the run has ended because of that."""
    if not run.status.is_finished or not answered.is_crash(run):
        return None
    return CrashInfo(
        exit_code=answered.exit_code(run),
        signal=_signal(run),
        reason=run.status.reason,
        partial_output=answered.output(run) or None,
        task_completed=_had_answered(run),
    )


def needs_output(run: Run, form: str) -> bool:
    """Whether the answer's `output` in that form is more than the status has: it is in the run's log (`of_log`)."""
    return bool(run.status.attempts) and (form != "text" or _result(run).get("truncated") is True)


def of_log(log: bytes, form: str) -> str | None:
    """The answer's `output` in that form, from what the CLI has printed; None if it is not there.

    `text` is the agent's last message, `json` the CLI's result event, `stream-json` all lines, as the CLI wrote them.
    """
    if form == "stream-json":
        return log.decode("utf-8", "replace") or None
    line = answers.result_line(log)
    if line is None:
        return None
    return line.decode("utf-8", "replace") if form == "json" else visible.text(answers.words(line))


def _word(run: Run) -> RunStatus:
    if run.status.reason == Reason.Completed:
        return "completed"
    return "crashed" if answered.is_crash(run) else "error"


def error(run: Run) -> str:
    """Nobody has to delete a run in order to repeat a call."""
    return answered.error_text(run).removesuffix(f"; {AFTERWARDS}")


def _signal(run: Run) -> str | None:
    found = answered.signal(run)
    try:
        return None if found is None else signal.Signals(found).name
    except ValueError:  # a real-time signal
        return f"SIG{found}"


def _had_answered(run: Run) -> bool:
    """Whether the CLI had come to its end with an answer: only then it says what that has cost."""
    attempts = list(entries(run.status.wire.get("attempts")))
    last = objects.fields(attempts[-1].get("usage")) if attempts else objects.NOTHING
    return "costUSD" in last and bool(_result(run)) and _result(run).get("isError") is not True


def _result(run: Run) -> Mapping[str, object]:
    return objects.fields(run.status.wire.get("result"))


def _amount(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
