"""Shell completion: `stromboli completion`, and names from the cluster for whatever a command is about to be given.

It is quick, and silent on failure: a cluster that does not answer at once has no names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stromboli.errors import StromboliError

if TYPE_CHECKING:
    from stromboli.kube.user import Resource

_LIMIT = "500"  # names: nobody reads more
_METADATA = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"
_DEFAULT, _NO_FILES = 0, 4  # of cobra's directives: whether the shell completes names of files
_HOW = {
    "bash": 'eval "$(stromboli completion bash)" in ~/.bashrc',
    "zsh": 'eval "$(stromboli completion zsh)" in ~/.zshrc, after compinit',
    "fish": "stromboli completion fish > ~/.config/fish/completions/stromboli.fish",
}


@click.command(epilog="; ".join(_HOW.values()))
@click.argument("shell", type=click.Choice(list(_HOW)))
def completion(shell: str) -> None:
    """Print a script that completes commands, options, and names of the cluster in a shell.

    As a kubectl plugin, it is completed by kubectl's own completion, if `kubectl_complete-stromboli` is on the PATH.
    """
    from click.shell_completion import get_completion_class

    from stromboli.cli.app import app

    made = get_completion_class(shell)
    assert made is not None, "click has these three"
    click.echo(made(app, {}, "stromboli", "_STROMBOLI_COMPLETE").source())


def for_kubectl(words: Sequence[str], program: str) -> str:
    """What kubectl expects of a plugin's completion: a line for each, and a last one with what to do besides (cobra's
    directives). The last word is the one to complete.
    """
    from click.shell_completion import ShellComplete

    from stromboli.cli.app import app

    *given, incomplete = words or ("",)
    found = ShellComplete(app, {}, program, "").get_completions(given, incomplete)
    files = any(item.type in ("file", "dir") for item in found)
    lines = [f"{item.value}\t{item.help}" if item.help else item.value for item in found if item.type == "plain"]
    return "\n".join([*lines, f":{_DEFAULT if files else _NO_FILES}"])


def complete_runs(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from stromboli.kube.user import RUNS

    return _names(RUNS, context, incomplete)


def complete_sessions(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from stromboli.kube.user import SESSIONS

    return _names(SESSIONS, context, incomplete)


def complete_namespaces(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from stromboli.kube.user import NAMESPACES

    return _names(NAMESPACES, context, incomplete, namespaced=False)


def _names(resource: Resource, context: click.Context, incomplete: str, *, namespaced: bool = True) -> list[str]:
    """Those that begin so and are not on the command line already, in order."""
    from stromboli.cli import cluster

    given = context.params
    path = given.get("kubeconfig")
    try:
        kubeconfig = Path(path) if path else None
        with cluster.user(given.get("namespace"), given.get("context") or "", kubeconfig, quiet=True) as user:
            target = resource.path(user.namespace if namespaced else None)
            found = user.document(target, {"limit": _LIMIT}, accept=_METADATA)
            names = [str(item["metadata"]["name"]) for item in found["items"]]
    except (StromboliError, OSError, LookupError, TypeError, ValueError):
        return []
    typed = given.get("names") or ()
    return sorted(name for name in names if name.startswith(incomplete) and name not in typed)
