"""`stromboli get`, `wait`, `cancel`, `suspend`, `resume` and `rerun`: arguments and exit codes. It stays light; see
cli/app.py. `run` is in run.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from stromboli.cli import cluster, completion, exitcodes, names

_CODES = f"""Exit codes, by how the run has ended: 0 it succeeded, {exitcodes.FAILED} it failed, {exitcodes.REFUSED} it
was refused, {exitcodes.CANCELED} it was canceled, {exitcodes.TIMED_OUT} it timed out."""


_RUNS: dict[str, Any] = {"callback": names.of_runs, "shell_complete": completion.complete_runs}
_names = click.argument("names", nargs=-1, metavar="[RUN]...", **_RUNS)
_name = click.argument("name", metavar="RUN", **_RUNS)
_selector = click.option("-l", "--selector", default="", help="Only those with these labels, such as team=web.")
_every = click.option("--all", "everything", is_flag=True, help="All runs of the namespace that have not ended.")


@click.command()
@_names
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "wide", "json", "yaml", "name"]),
    default="table",
    help="Output format; wide has tokens, cost and session.",
)
@click.option("-w", "--watch", is_flag=True, help="Then print runs that change, until ^C.")
@click.option("-A", "--all-namespaces", is_flag=True, help="Those of all namespaces.")
@_selector
@click.option(
    "--session", default="", help="Only those of this AgentSession.", shell_complete=completion.complete_sessions
)
@cluster.options
def get(
    names: tuple[str, ...],
    output: str,
    watch: bool,
    all_namespaces: bool,
    selector: str,
    session: str,
    namespace: str | None,
    context: str,
    kubeconfig: Path | None,
) -> None:
    """List AgentRuns, or show those that are named. The newest is the last."""
    if names and (all_namespaces or selector or session):
        raise click.UsageError("give names, or -A, -l and --session")
    if namespace and all_namespaces:
        raise click.UsageError("give -n, or -A")
    from stromboli.cli.runs import getting

    with cluster.user(namespace, context, kubeconfig) as user:
        getting.show(
            user,
            None if all_namespaces else user.namespace,
            names,
            output=output,
            labels=selector,
            session=session,
            watch=watch,
        )


@click.command(
    epilog=f"{_CODES} {exitcodes.NOT_YET} if that is not so after --timeout. With several runs, the code is that of the"
    " first one that did not end well."
)
@click.argument("names", nargs=-1, required=True, metavar="RUN...", **_RUNS)
@click.option(
    "--for",
    "until",
    default="finished",
    help="finished (default), started, deleted, or condition=TYPE[=STATUS] such as condition=Allowed.",
)
@click.option("--timeout", help="How long to wait at most, such as 10m. Default: without end.")
@cluster.options
def wait(
    names: tuple[str, ...],
    until: str,
    timeout: str | None,
    namespace: str | None,
    context: str,
    kubeconfig: Path | None,
) -> None:
    """Wait until AgentRuns have ended, and exit by how they ended."""
    from stromboli.cli.runs import waiting

    wanted, seconds = waiting.wanted(until), waiting.seconds(timeout)
    with cluster.user(namespace, context, kubeconfig) as user:
        code = waiting.wait(user, user.namespace, names, wanted, seconds)
    raise click.exceptions.Exit(code)


@click.command()
@_names
@_selector
@_every
@click.option("--wait", "waits", is_flag=True, help="Wait until nothing of them runs any more, and say what they cost.")
@cluster.options
def cancel(waits: bool, namespace: str | None, context: str, kubeconfig: Path | None, **chosen: Any) -> None:
    """Stop AgentRuns for good.

    The agent gets SIGTERM at once, and SIGKILL after the run's terminationGracePeriod. What it has answered so far, its
    tokens and its cost are kept. A run that has not started never starts.
    """
    from stromboli.cli.runs import controls

    with cluster.user(namespace, context, kubeconfig) as user:
        controls.cancel(user, user.namespace, waits=waits, **chosen)


@click.command()
@_names
@_selector
@_every
@cluster.options
def suspend(namespace: str | None, context: str, kubeconfig: Path | None, **chosen: Any) -> None:
    """Hold AgentRuns back before their start, or before their next attempt. `stromboli resume` lets them go on."""
    from stromboli.cli.runs import controls

    with cluster.user(namespace, context, kubeconfig) as user:
        controls.suspend(user, user.namespace, **chosen)


@click.command()
@_names
@_selector
@_every
@cluster.options
def resume(namespace: str | None, context: str, kubeconfig: Path | None, **chosen: Any) -> None:
    """Let AgentRuns that were suspended go on."""
    from stromboli.cli.runs import controls

    with cluster.user(namespace, context, kubeconfig) as user:
        controls.resume(user, user.namespace, **chosen)


@click.command(epilog=f"With --follow: {_CODES} {exitcodes.DETACHED} if it is no longer followed, and goes on.")
@_name
@click.option("-f", "--follow", is_flag=True, help="Follow it to its end. ^C cancels it, a second ^C leaves it.")
@cluster.options
def rerun(name: str, follow: bool, namespace: str | None, context: str, kubeconfig: Path | None) -> None:
    """Create a new AgentRun that runs what another one ran.

    It has the same spec, except for `cancel` and `suspend`, and a generated name, which is printed.
    """
    from stromboli.cli.runs import launching, manifest, reading

    with cluster.user(namespace, context, kubeconfig) as user:
        body = manifest.again(reading.run(user, user.namespace, name))
        code = launching.launch(user, user.namespace, body, output="conversation" if follow else "detached")
    raise click.exceptions.Exit(code)
