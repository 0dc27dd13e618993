"""Commands that only show something: status, doctor, env, kubeconfig."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stromboli.cli import installation

if TYPE_CHECKING:
    from stromboli.local.doctor import Check
    from stromboli.local.stack import PartStatus

_output = click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="Output format.")


@click.command()
@_output
def status(output: str) -> None:
    """Show the state of each part of the installation.

    Exit code 1 if a part is not ready.
    """
    parts = installation.stack().status()
    click.echo(_json({p.name: p.as_dict() for p in parts}) if output == "json" else _parts(parts))
    if not all(p.ready for p in parts):
        raise click.exceptions.Exit(1)


@click.command()
@_output
def doctor(output: str) -> None:
    """Check whether this machine has what an installation needs.

    For whatever is missing, a line says how to get it. If the installation is up, its way to the gateway is checked as
    well. Exit code 1 if something that is required is missing.
    """
    from stromboli.local import doctor as examination
    from stromboli.local.home import Home

    checks = examination.examine(examination.Context(Home.of(os.environ), os.environ, os.getuid() != 0))
    click.echo(_json([c.as_dict() for c in checks]) if output == "json" else _checks(checks))
    if not all(c.ok for c in checks if c.required):
        raise click.exceptions.Exit(1)


@click.command()
def env() -> None:
    """Print the variables that point a shell at the installation.

    Use it as eval "$(stromboli env)". It sets KUBECONFIG, CONTAINER_HOST, STROMBOLI_URL (the HTTP API), a PATH with
    kubectl and stromboli, and STROMBOLI_HOME if that is set now.
    """
    stack = installation.existing()
    home = stack.home.root if os.environ.get("STROMBOLI_HOME") else None
    path, url = os.environ.get("PATH", ""), stack.gateway.http_api.url()
    click.echo(exports(stack.kubeconfig, stack.home.bin, stack.podman.socket, path, home, url))


@click.command()
def kubeconfig() -> None:
    """Print the path of the local control plane's kubeconfig."""
    click.echo(installation.existing().kubeconfig)


def exports(
    kubeconfig: Path, programs: Path, socket: Path, path: str, home: Path | None = None, url: str | None = None
) -> str:
    """Lines for a POSIX shell; PATH is left out if it already begins with the folder `programs`."""
    lines = [f"export KUBECONFIG={shlex.quote(str(kubeconfig))}"]
    if path.split(os.pathsep)[0] != str(programs):
        lines.append(f'export PATH={shlex.quote(str(programs))}:"$PATH"')
    if home is not None:
        lines.append(f"export STROMBOLI_HOME={shlex.quote(str(home))}")
    if url is not None:
        lines.append(f"export STROMBOLI_URL={shlex.quote(url)}")
    return "\n".join([*lines, f"export CONTAINER_HOST={shlex.quote(f'unix://{socket}')}"])


def _parts(parts: Sequence[PartStatus]) -> str:
    from stromboli.local.account import table

    rows = [("PART", "STATE", "PID", "WHERE")]
    lines = table([*rows, *((p.name, _state(p), str(p.pid or "-"), p.where) for p in parts)])
    problems = [f"{p.name}: {p.problem}; `stromboli up` repairs it" for p in parts if p.pid and p.problem]
    reached = [f"HTTP API: {p.url}" for p in parts if p.url]
    reached += [f"metrics: {p.metrics} ({p.name})" for p in parts if p.metrics]
    return "\n".join([*lines, *reached, *problems])


def _state(part: PartStatus) -> str:
    if part.ready:
        return "ready"
    return "starting" if part.pid else "down"


def _checks(checks: Sequence[Check]) -> str:
    lines = []
    for check in checks:
        mark = "ok" if check.ok else "MISSING" if check.required else "note"
        lines.append(f"{mark:<8} {check.name}: {check.found}")
        if not check.ok:
            lines.append(f"         → {check.hint}")
    return "\n".join(lines)


def _json(value: Mapping[str, Any] | Sequence[Any]) -> str:
    return json.dumps(value, indent=2)
