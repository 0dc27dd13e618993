"""The cluster that a command works on, and as whom: options that all such commands have, and what they lead to.

The modules that ask the API server are loaded when a command runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from stromboli.cli import completion

if TYPE_CHECKING:
    from stromboli.kube.user import User

F = TypeVar("F", bound=Callable[..., Any])


def options(command: F) -> F:
    """`-n`, `--context` and `--kubeconfig`, as `namespace`, `context` and `kubeconfig`."""
    for option in (
        click.option("--kubeconfig", type=click.Path(path_type=Path), help="The kubeconfig file to use."),
        click.option("--context", default="", help="The kubeconfig's context. Default: its current one."),
        click.option(
            "-n",
            "--namespace",
            help="The namespace. Default: the kubeconfig's.",
            shell_complete=completion.complete_namespaces,
        ),
    ):
        command = option(command)
    return command


def user(
    namespace: str | None = None, context: str = "", kubeconfig: Path | None = None, *, quiet: bool = False
) -> User:
    """The user of the kubeconfig: the given one, else as kubectl finds it, else that of the local installation.

    `quiet` is for completions: nothing is asked, and there is little time. Raises LocalFailure.
    """
    from stromboli.kube.user import User

    return User.found(path=kubeconfig, context=context, namespace=namespace, local=local, quiet=quiet)


def local() -> Path | None:
    """The kubeconfig of the installation on this machine, if there is one."""
    from stromboli.local.home import Home

    home = Home.of(os.environ)
    return home.kubeconfig if home.exists else None
