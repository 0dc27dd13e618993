"""Commands that change the installation on this machine: up, down, demo, fetch."""

from __future__ import annotations

import click

from stromboli.cli import installation


@click.command()
def up() -> None:
    """Start what is down: Podman's service, a control plane, the operator.

    Everything stays as it was before `down` or a restart of the machine.
    """
    stack = installation.stack()
    stack.up()
    click.echo(f"KUBECONFIG={stack.kubeconfig}")


@click.command()
@click.option("--purge", is_flag=True, help="Remove everything: runs, images, the cluster's data, the folder.")
def down(purge: bool) -> None:
    """Stop everything; it is kept for the next `up`.

    Runs under way go on by themselves, and the next `up` finds what came of them.
    """
    stack = installation.stack()
    if not stack.exists:
        click.echo(f"there is no installation in {stack.home.root}; nothing to stop")
    elif purge:
        stack.purge()
        click.echo(f"removed {stack.home.root}")
    elif going := stack.down():
        click.echo(f"{going} {'run goes' if going == 1 else 'runs go'} on; `stromboli up` finds what came of it")


@click.command()
def demo() -> None:
    """Start everything and run examples/hello: a prompt in, an answer out."""
    import sys

    from stromboli.local.demo import Demo
    from stromboli.local.progress import Progress

    progress = Progress(sys.stdout)
    if not Demo(installation.stack(report=progress.line), progress).run():
        raise click.exceptions.Exit(1)


@click.command()
def fetch() -> None:
    """Download or build the control plane's programs, so that `up` need not."""
    click.echo(f"{installation.stack().fetch().folder}")
