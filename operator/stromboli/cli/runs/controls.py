"""`stromboli cancel`, `suspend` and `resume`: one field of a run's spec is set, and what comes of it is said."""

from __future__ import annotations

from collections.abc import Sequence

import click

from stromboli import visible
from stromboli.cli.runs import following, outcome, reading
from stromboli.kube.user import RUNS, Object, User
from stromboli.models.objects import fields, number
from stromboli.reasons import Reason


def cancel(
    user: User, namespace: str, *, names: Sequence[str], selector: str, everything: bool, waits: bool = False
) -> None:
    changed = []
    for run in _going(user, namespace, names, selector, everything):
        changed.append(_set(user, namespace, run, "cancel", True))
        _say(run, "is being canceled")
    for run in changed if waits else ():
        ended = following.ended(user, namespace, outcome.name(run), outcome.uid(run))
        _say(run, f"{outcome.of(ended)}{_spent(ended)}")


def suspend(user: User, namespace: str, *, names: Sequence[str], selector: str, everything: bool) -> None:
    for run in _going(user, namespace, names, selector, everything):
        changed = _set(user, namespace, run, "suspend", True)
        if outcome.of(changed).reason == Reason.Retrying:
            _say(run, "is suspended: its next attempt is held back")
        elif fields(changed.get("status")).get("attempts"):
            _say(run, "has begun: this holds back only an attempt after the present one; `stromboli cancel` stops it")
        else:
            _say(run, "is suspended")


def resume(user: User, namespace: str, *, names: Sequence[str], selector: str, everything: bool) -> None:
    for run in _going(user, namespace, names, selector, everything):
        if fields(run.get("spec")).get("suspend"):
            _set(user, namespace, run, "suspend", False)
            _say(run, "goes on")
        elif names:
            _say(run, "is not suspended")


def _going(user: User, namespace: str, names: Sequence[str], selector: str, everything: bool) -> list[Object]:
    """The chosen runs that have not ended. It is said of one that was named if it has."""
    going = []
    for run in reading.chosen(user, namespace, names, selector, everything):
        if not (now := outcome.of(run)).ended:
            going.append(run)
        elif names:
            _say(run, f"has ended already: {now}")
    if not going and not names:
        click.echo(
            f"no AgentRuns that have not ended in the namespace {namespace}{' with these labels' if selector else ''}",
            err=True,
        )
    return going


def _set(user: User, namespace: str, run: Object, field: str, value: bool) -> Object:
    name = outcome.name(run)
    with reading.existing(namespace, name):
        return user.patch(RUNS, namespace, name, {"metadata": {"uid": outcome.uid(run)}, "spec": {field: value}})


def _spent(run: Object) -> str:
    usage = fields(fields(run.get("status")).get("usage"))
    if not usage:
        return ""
    tokens = number(usage.get("inputTokens")), number(usage.get("outputTokens"))
    return f" ({tokens[0]} input and {tokens[1]} output tokens, ${usage.get('costUSD') or 0:.4f})"


def _say(run: Object, what: str) -> None:
    click.echo(visible.text(f"agentrun/{outcome.name(run)} {what}"))
