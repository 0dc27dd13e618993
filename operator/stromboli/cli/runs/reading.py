"""The runs that a command is about, read from the cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from stromboli.errors import ApiRefused, LocalFailure
from stromboli.kube.user import RUNS, Object, User


def run(user: User, namespace: str, name: str) -> Object:
    """The run of that name. Raises LocalFailure."""
    with existing(namespace, name):
        return user.get(RUNS, namespace, name)


def chosen(user: User, namespace: str, names: Sequence[str], labels: str, everything: bool) -> list[Object]:
    """Those that are named, or selected by their labels, or all of the namespace. Raises LocalFailure."""
    if bool(names) + bool(labels) + everything != 1:
        raise click.UsageError("give names of runs, or a selector (-l), or --all")
    if names:
        return [run(user, namespace, name) for name in dict.fromkeys(names)]
    return user.list(RUNS, namespace, labels=labels).items


@contextmanager
def existing(namespace: str, name: str) -> Iterator[None]:
    """Says it in a sentence if the run of that name does not exist."""
    try:
        yield
    except ApiRefused as e:
        if e.status == 404 and not e.hint:
            raise missing(namespace, name) from e
        raise


def missing(namespace: str, *names: str) -> LocalFailure:
    hint = f"`stromboli get -n {namespace}` lists those that there are"
    return LocalFailure(f"there is no AgentRun {', '.join(names)} in the namespace {namespace}", hint)
