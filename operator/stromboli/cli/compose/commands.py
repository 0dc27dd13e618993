"""`stromboli compose check`: its arguments and output formats. It stays light; see cli/app.py."""

from __future__ import annotations

import json
from pathlib import Path

import click

from stromboli import visible
from stromboli.cli import exitcodes


@click.group()
def compose() -> None:
    """Compose files for runs with an environment."""


@compose.command(epilog=f"Exit codes: {exitcodes.NOT_ALLOWED} not allowed by a policy, 1 any other problem.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-s", "--service", help="The service in which the agent would run.")
@click.option("--profile", "profiles", multiple=True, help="A profile that is on; may be repeated.")
@click.option("-e", "--env", "variables", multiple=True, metavar="NAME=VALUE", help="As environment.env of a run.")
@click.option("--image", "images", multiple=True, metavar="SERVICE=IMAGE", help="As environment.images of a run.")
@click.option(
    "--policy",
    "policies",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Manifest of AgentPolicies that apply, as from `kubectl get agentpolicies -o yaml`; may be repeated. "
    "Default: only the first file's folder is allowed.",
)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="Output format.")
def check(
    files: tuple[Path, ...],
    service: str | None,
    profiles: tuple[str, ...],
    variables: tuple[str, ...],
    images: tuple[str, ...],
    policies: tuple[Path, ...],
    output: str,
) -> None:
    """Check compose files as the operator does, and show what they mean.

    Several FILES are merged, later ones over earlier ones. Nothing is pulled or started, and no cluster is needed.
    """
    from stromboli.cli.compose import checked

    asked = checked.Asked(files, service, profiles, _pairs(variables, "--env"), _pairs(images, "--image"), policies)
    found = checked.check(asked)
    if output == "json":
        click.echo(json.dumps(found.document, indent=2))
        return
    click.echo(found.table)
    for notice in found.notices:
        click.echo(f"note: {visible.text(notice)}", err=True)


def _pairs(given: tuple[str, ...], option: str) -> dict[str, str]:
    found = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint=option)
        found[name] = value
    return found
