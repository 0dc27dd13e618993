"""`stromboli logs`: arguments and options. It stays light; see cli/app.py."""

from __future__ import annotations

import math
from pathlib import Path

import click

from stromboli.cli import cluster, completion, names
from stromboli.errors import InvalidInput


def _seconds(context: click.Context, option: click.Parameter, value: str | None) -> int | None:
    from stromboli.grammar import duration

    if value is None:
        return None
    try:
        return max(1, math.ceil(duration.parse(value)))
    except InvalidInput as e:
        raise click.BadParameter(e.message) from e


@click.command()
@click.argument("run", metavar="RUN", callback=names.of_runs, shell_complete=completion.complete_runs)
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended; wait if it has not started.")
@click.option("--step", default="", metavar="STEP", help="Only agent, stderr, supervisor, or HOOK[i].")
@click.option("--service", default="", metavar="NAME", help="A service of the run's environment instead.")
@click.option("--since", callback=_seconds, metavar="DURATION", help="Only what is not older than that, such as 5m.")
@click.option("--attempt", type=click.IntRange(1), help="An attempt by its number. Default: the last.")
@click.option("--raw", is_flag=True, help="The bytes as they are; of the agent, the CLI's stream-json.")
@cluster.options
def logs(
    run: str,
    follow: bool,
    step: str,
    service: str,
    since: int | None,
    attempt: int | None,
    raw: bool,
    namespace: str | None,
    context: str,
    kubeconfig: Path | None,
) -> None:
    """Print the output of an AgentRun.

    First that of its hooks, then the agent's conversation: its text, each tool use with its outcome and time, and what
    it cost. With --raw only the agent's, as the CLI wrote it. It is there while the run is. Your kubeconfig's user must
    be allowed to `get` agentruns and agentruns/log.
    """
    from stromboli.cli.logs import follow as following
    from stromboli.cli.logs.screen import Screen

    if step and service:
        raise click.UsageError("give --step or --service, not both")
    chosen = following.Chosen(step, service, attempt or 0, since, only_agent=raw)
    screen = Screen(raw=raw, live=follow)
    with cluster.user(namespace, context, kubeconfig) as user:
        if follow:
            following.follow(user, user.namespace, run, screen, chosen)
        else:
            following.show(user, user.namespace, run, screen, chosen)
