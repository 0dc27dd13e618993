"""`stromboli images` and its subcommands: arguments, output formats, exit codes. It stays light; see cli/app.py."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from stromboli import visible
from stromboli.cli import cluster, exitcodes
from stromboli.cli.images import tables
from stromboli.errors import ApiRefused

_CODES = f"""Exit codes: {exitcodes.NOT_ALLOWED} not allowed, {exitcodes.NO_SUCH_IMAGE} no such image,
{exitcodes.NO_ACCESS} no access to it in its registry, {exitcodes.REGISTRY_AWAY} a registry does not answer,
{exitcodes.NOT_COMPATIBLE} the Claude CLI cannot run in it."""


@click.group(invoke_without_command=True, epilog=_CODES)
@cluster.options
@click.option("-o", "--output", type=click.Choice(["table", "json", "name"]), default="table", help="Output format.")
@click.option("--all", "everything", is_flag=True, help="Also those that the namespace may not use.")
@click.pass_context
def images(group: click.Context, /, output: str, everything: bool, **where: Any) -> None:
    """List the images on the node, those that suit agents best first.

    RANK is 1 for compatible and labelled so, 2 for images with a Claude CLI of their own, 3 for compatible, and 4 for
    not compatible. You see the images that the policies of your namespace allow. You must be allowed to `list` images
    of the group agents.stromboli.dev there, and for --all in all namespaces.
    """
    if group.invoked_subcommand is not None:
        if any(where.values()) or everything or output != "table":
            raise click.UsageError(f"write the options after {group.invoked_subcommand}")
        return
    told = _listed(where, everything)
    rows = told["images"]
    if output == "json":
        click.echo(json.dumps(told, indent=2))
    elif output == "name":
        click.echo("".join(f"{visible.text(row['image'])}\n" for row in rows), nl=False)
    else:
        click.echo(tables.images(rows, everything=everything))
        _note(tables.unknown(rows))


@images.command(epilog=_CODES)
@click.argument("reference")
@cluster.options
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Output format.")
def inspect(reference: str, output: str, **where: Any) -> None:
    """Show what is in an image of the node, and whether a run may start in it."""
    from stromboli.api import client

    with _exit_codes(), cluster.user(**where) as user:
        told = client.image(user, user.namespace, reference)
    click.echo(json.dumps(told, indent=2) if output == "json" else tables.image(told))
    if told["compatible"] is False:
        raise click.exceptions.Exit(exitcodes.NOT_COMPATIBLE)
    if told["refusal"]:
        raise click.exceptions.Exit(exitcodes.NOT_ALLOWED)


@images.command(epilog=_CODES)
@click.argument("query")
@click.option("--limit", type=click.IntRange(1, 100), default=25, show_default=True, help="Results of each registry.")
@cluster.options
@click.option("-o", "--output", type=click.Choice(["table", "json", "name"]), default="table", help="Output format.")
def search(query: str, limit: int, output: str, **where: Any) -> None:
    """Search the node's registries for images.

    ALLOWED says whether the policies of your namespace allow images of that repository. A registry that does not answer
    is named on standard error; only if none answers, the command fails.
    """
    from stromboli.api import client

    with _exit_codes(), cluster.user(**where) as user:
        told = client.search(user, user.namespace, query, limit)
    found, unanswered = told["images"], told["unanswered"]
    if output == "json":
        click.echo(json.dumps(told, indent=2))
    elif output == "name":
        click.echo("".join(f"{visible.text(row['name'])}\n" for row in found), nl=False)
    elif found or not unanswered:
        click.echo(tables.search(found))
    for each in unanswered:
        _note(f"{each['registry']} was not searched: {each['message']}")
    if unanswered and told["answered"] == 0:
        problems = {exitcodes.of_problem(each["problem"]) or exitcodes.REGISTRY_AWAY for each in unanswered}
        raise click.exceptions.Exit(problems.pop() if len(problems) == 1 else exitcodes.REGISTRY_AWAY)


@images.command(epilog=_CODES)
@click.argument("reference")
@click.option(
    "--pull-secret", "secrets", multiple=True, metavar="NAME", help="A Secret with credentials for it; repeat."
)
@cluster.options
def pull(reference: str, secrets: tuple[str, ...], **where: Any) -> None:
    """Pull an image to the node, and say whether agents can use it.

    This creates an AgentImage in your namespace and follows it. One of the same image that is there already is followed
    instead. ^C, and a pull that fails, delete what was created, which ends the pull.
    """
    from stromboli.cli.images import pull as pulling

    with cluster.user(**where) as user:
        result = pulling.pull(user, reference, secrets)
    click.echo(visible.text(result.message))
    if result.incompatible:
        _note(f"the Claude CLI cannot run in it: {result.incompatible}")
        raise click.exceptions.Exit(exitcodes.NOT_COMPATIBLE)


def _listed(where: Mapping[str, Any], everything: bool) -> Mapping[str, Any]:
    from stromboli.api import client

    with _exit_codes(), cluster.user(**where) as user, _progress() as report:
        told = client.images(user, user.namespace, everything, report)
        while (left := told["incomplete"]) > 0:  # the operator answers within a limited time
            told = client.images(user, user.namespace, everything, report)
            if told["incomplete"] >= left:
                break
        return told


@contextmanager
def _progress() -> Iterator[_Report]:
    """Shows a step as soon as progress is reported."""
    report = _Report()
    try:
        yield report
    finally:
        report.end(*sys.exc_info())


class _Report:
    """Shows how many images are inspected; what shows it is loaded only when there is something to show."""

    def __init__(self) -> None:
        self._step: Any = None
        self._shown: Any = None

    def __call__(self, done: int, total: int) -> None:
        if self._shown is None:
            from stromboli.progress import Progress

            self._shown = Progress().step("inspecting images")
            self._step = self._shown.__enter__()
        self._step.done(done, total, "images")

    def end(self, *error: Any) -> None:
        if self._shown is not None:
            self._shown.__exit__(*error)


@contextmanager
def _exit_codes() -> Iterator[None]:
    """What is refused ends the command with the exit code of its reason."""
    try:
        yield
    except ApiRefused as refused:
        refused.code = exitcodes.of_reason(refused.reason)
        raise


def _note(text: str) -> None:
    if text:
        print(f"stromboli: {visible.text(text)}", file=sys.stderr)
