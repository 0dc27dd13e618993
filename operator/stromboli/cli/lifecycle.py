"""Commands that change the installation on this machine: up, down, demo, fetch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from stromboli.cli import installation


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="YAML file with settings under `agent:`, `server:` and `rate_limit:`, which are kept; variables named "
    "STROMBOLI_AGENT_… and so on override them.",
)
def up(config: Path | None) -> None:
    """Start every part of the installation that is not running.

    The parts are Podman's service, a control plane (etcd, kube-apiserver, kube-controller-manager), the gateway of the
    read API and of the HTTP API, and the operator. Everything is as it was before `down` or a restart of the machine.
    The first `up` creates the installation and gets the images that a run needs; if ANTHROPIC_API_KEY or
    CLAUDE_CODE_OAUTH_TOKEN is set then, Claude answers from then on, otherwise an offline stand-in (see `stromboli
    login`).

    The HTTP API is at 127.0.0.1:8080, or at another port if that is taken. STROMBOLI_SERVER_ADDRESS chooses one, and is
    kept, as are STROMBOLI_AGENT_… and STROMBOLI_RATE_LIMIT_…; an empty value removes one.
    """
    stack = installation.stack(config=config)
    answers = stack.up()
    stack.report(f"{answers}; `stromboli login` and `stromboli logout` change that")
    click.echo(f"KUBECONFIG={stack.kubeconfig}")
    click.echo(f"STROMBOLI_URL={stack.gateway.http_api.url()}")


@click.command()
@click.option("--purge", is_flag=True, help="Remove the installation: runs, images, the cluster's data, its folder.")
@click.option(
    "--cache", is_flag=True, help="With --purge: also remove downloads and builds that all your installations share."
)
def down(purge: bool, cache: bool) -> None:
    """Stop the installation, or remove it with --purge.

    Without --purge everything is kept for the next `up`. Agents that are running continue, and the next `up` reads
    their results.
    """
    if cache and not purge:
        raise click.UsageError("--cache works only together with --purge; give both, or neither")
    stack = installation.stack()
    if not stack.exists:
        click.echo(f"there is no installation in {stack.home.root}; nothing to stop")
    elif purge:
        stack.purge()
        click.echo(f"removed {stack.home.root}")
    elif going := stack.down():
        what, their = ("run continues", "its result") if going == 1 else ("runs continue", "their results")
        click.echo(f"{going} {what}; the next `stromboli up` reads {their}")
    if purge:
        _purge_cache(stack.environ, everything=cache)


def _purge_cache(environ: Mapping[str, str], *, everything: bool) -> None:
    from stromboli.local import cache

    removed, kept = cache.purge(environ, everything=everything)
    if removed:
        click.echo(f"removed {removed}")
    if kept:
        click.echo(f"kept {kept}, which other installations may use; `stromboli down --purge --cache` removes it")


@click.command()
def demo() -> None:
    """Start the installation and run examples/hello.

    Prints the answer, the run's conditions and how long each step took. Exit code 1 if the run does not succeed.
    """
    import sys

    from stromboli.local.demo import Demo
    from stromboli.progress import Progress

    if not Demo(installation.stack(Progress(sys.stdout))).run():
        raise click.exceptions.Exit(1)


@click.command()
def fetch() -> None:
    """Download or build the control plane's programs ahead of `up`.

    Prints the folder that contains them.
    """
    click.echo(f"{installation.stack().fetch().folder}")
