"""Commands that change the installation on this machine: up, down, demo, fetch."""

from __future__ import annotations

from collections.abc import Mapping

import click

from stromboli.cli import installation


@click.command()
def up() -> None:
    """Start what is down: Podman's service, a control plane, the operator.

    Everything stays as it was before `down` or a restart of the machine. The first time it also gets the images that a
    run needs; if ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN is set, Claude answers from then on.
    """
    stack = installation.stack()
    answers = stack.up()
    stack.report(f"{answers}; `stromboli login` and `stromboli logout` change that")
    click.echo(f"KUBECONFIG={stack.kubeconfig}")


@click.command()
@click.option("--purge", is_flag=True, help="Remove everything: runs, images, the cluster's data, the folder.")
@click.option("--cache", is_flag=True, help="With --purge: also what was downloaded or built, for all installations.")
def down(purge: bool, cache: bool) -> None:
    """Stop everything; it is kept for the next `up`.

    Runs under way go on by themselves, and the next `up` finds what came of them.
    """
    if cache and not purge:
        raise click.UsageError("--cache goes with --purge")
    stack = installation.stack()
    if not stack.exists:
        click.echo(f"there is no installation in {stack.home.root}; nothing to stop")
    elif purge:
        stack.purge()
        click.echo(f"removed {stack.home.root}")
    elif going := stack.down():
        click.echo(f"{going} {'run goes' if going == 1 else 'runs go'} on; `stromboli up` finds what came of it")
    if purge:
        _purge_cache(stack.environ, everything=cache)


def _purge_cache(environ: Mapping[str, str], *, everything: bool) -> None:
    from stromboli.local import cache

    removed, kept = cache.purge(environ, everything=everything)
    if removed:
        click.echo(f"removed {removed}")
    if kept:
        click.echo(f"kept {kept}, which other installations use too; `stromboli down --purge --cache` removes it")


@click.command()
def demo() -> None:
    """Start everything and run examples/hello: a prompt in, an answer out."""
    import sys

    from stromboli.local.demo import Demo
    from stromboli.progress import Progress

    if not Demo(installation.stack(Progress(sys.stdout))).run():
        raise click.exceptions.Exit(1)


@click.command()
def fetch() -> None:
    """Download or build the control plane's programs, so that `up` need not."""
    click.echo(f"{installation.stack().fetch().folder}")
