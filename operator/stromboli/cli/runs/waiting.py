"""`stromboli wait`: until runs have ended, or until something else is true of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import click

from stromboli import visible
from stromboli.cli import exitcodes
from stromboli.cli.runs import outcome, reading
from stromboli.errors import InvalidInput
from stromboli.grammar import duration
from stromboli.kube.states import states
from stromboli.kube.user import RUNS, Object, User
from stromboli.models.objects import entries, fields

_WHAT = "write finished, started, deleted, or condition=TYPE or condition=TYPE=STATUS"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is waited for, and how it is said that it is not so. `is_so` is asked of each state of a run; None is its
    deletion.
    """

    text: str
    not_yet: str
    is_so: Callable[[Object | None], bool]
    is_end: bool = False  # whether it comes true of every run that ends


def wanted(text: str) -> Wanted:
    """What `--for` says. Raises UsageError."""
    kind, _, rest = text.partition("=")
    if kind == "condition" and rest:
        type_, _, status = rest.partition("=")
        about = f"its condition {type_} is"
        wanted = status or "True"
        return Wanted(f"{about} {wanted}", f"{about} not {wanted}", lambda run: _has(run, type_, wanted))
    if rest == "" and kind in ("finished", "complete"):
        return Wanted("it has ended", "has not ended", lambda run: run is not None and outcome.of(run).ended, True)
    if rest == "" and kind == "started":
        return Wanted("it has started", "has not started", _has_started)
    if rest == "" and kind in ("deleted", "delete"):
        return Wanted("it is deleted", "is not deleted", lambda run: run is None)
    raise click.UsageError(f"--for {text}: {_WHAT}")


def seconds(text: str | None) -> float | None:
    """What `--timeout` says. Raises UsageError."""
    try:
        return None if text is None else duration.parse(text)
    except InvalidInput as e:
        raise click.UsageError(f"--timeout: {e}") from e


def wait(user: User, namespace: str, names: Sequence[str], wanted: Wanted, seconds: float | None) -> int:
    """Wait for each of the runs. Returns the exit code."""
    until = None if seconds is None else time.monotonic() + seconds
    codes = [_wait(user, namespace, name, wanted, until, seconds) for name in dict.fromkeys(names)]
    return next((code for code in codes if code), 0)


def _wait(user: User, namespace: str, name: str, wanted: Wanted, until: float | None, seconds: float | None) -> int:
    uid, now = "", outcome.State("", "", False)
    for run in states(user, RUNS, namespace, name, until=until):
        if run is not None and uid and outcome.uid(run) != uid:
            run = None  # another one has its name now
        if wanted.is_so(run):
            _say(name, str(outcome.of(run)) if run is not None else "deleted")
            return outcome.of(run).code if run is not None and wanted.is_end else 0
        if run is None:
            if not uid:
                raise reading.missing(namespace, name)
            _say(name, "was deleted", err=True)
            return exitcodes.CANCELED
        uid, now = outcome.uid(run), outcome.of(run)
        if now.ended and wanted.text != "it is deleted":
            _say(name, f"has ended before {wanted.text}: {now}", err=True)
            return now.code or exitcodes.FAILED
    _say(name, f"{wanted.not_yet} after {duration.format(seconds or 0)}: {now}", err=True)
    return exitcodes.NOT_YET


def _has_started(run: Object | None) -> bool:
    return bool(fields((run or {}).get("status")).get("attempts"))


def _has(run: Object | None, type_: str, status: str) -> bool:
    found = entries(fields((run or {}).get("status")).get("conditions"))
    return any(
        str(each.get("type")).lower() == type_.lower() and str(each.get("status")).lower() == status.lower()
        for each in found
    )


def _say(name: str, what: str, *, err: bool = False) -> None:
    click.echo(visible.text(f"agentrun/{name} {what}"), err=err)
