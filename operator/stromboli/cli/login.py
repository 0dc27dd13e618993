"""`stromboli login` and `logout`: who answers the agents of the local installation.

Credentials come from a prompt, standard input, the environment or a file, never from an argument, which every user of
the machine can read.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stromboli.cli import installation

if TYPE_CHECKING:
    from stromboli.local.answers import Answers, Claude

_PROMPT = "API key or OAuth token (not shown)"


@click.command()
@click.option(
    "--from-env", is_flag=True, help="Take ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN from the environment."
)
@click.option(
    "--file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Take the login of your Claude CLI from this file, usually ~/.claude/.credentials.json.",
)
@click.option(
    "--kind", type=click.Choice(["key", "token"]), help="Say which it is, if its form does not: API key or OAuth token."
)
@click.option("--base-url", metavar="URL", help="URL of a gateway to use instead of https://api.anthropic.com.")
def login(from_env: bool, file: Path | None, kind: str | None, base_url: str | None) -> None:
    """Store Claude's credentials, so that Claude answers.

    They are an API key, an OAuth token (`claude setup-token` prints one) or the login of your Claude CLI. Without
    --from-env and --file, they are asked for, or read from standard input if that is not a terminal. They are used from
    the next run on, until the next login or logout.
    """
    if from_env and file:
        raise click.UsageError("--from-env and --file exclude each other; give one of them")
    _choose(_given(from_env, file, kind, base_url))


@click.command()
def logout() -> None:
    """Remove the stored credentials.

    From the next run on, an offline stand-in answers instead of Claude.
    """
    from stromboli.local.answers import Offline

    _choose(Offline(chosen=True))


def _given(from_env: bool, file: Path | None, kind: str | None, base_url: str | None) -> Claude:
    from dataclasses import replace

    from stromboli.errors import LocalFailure
    from stromboli.local import answers

    if from_env:
        found = answers.from_environment(os.environ)
        if found is None:
            raise LocalFailure(
                "neither ANTHROPIC_API_KEY nor CLAUDE_CODE_OAUTH_TOKEN is set in this shell",
                "export one of them, or run `stromboli login` without --from-env",
            )
        return replace(found, base_url=base_url or found.base_url)
    if file:
        return answers.from_text(file.read_text(encoding="utf-8", errors="replace"), "file", base_url)
    if sys.stdin.isatty():
        return answers.from_text(click.prompt(_PROMPT, hide_input=True), kind, base_url)
    given = sys.stdin.buffer.read(answers.MOST + 1)
    return answers.from_text(given.decode(errors="replace"), kind, base_url)


def _choose(answers: Answers) -> None:
    """Store the choice and report it. Running agents keep their credentials; later ones get these."""
    from stromboli.errors import LocalFailure

    stack = installation.existing()
    if not all(part.ready for part in stack.status() if part.name == "kube-apiserver"):
        raise LocalFailure("the local control plane is down", "`stromboli up` starts it; then run this again")
    with stack.changing():
        stack.answers_up(answers)
    click.echo(f"{answers}, from the next run on")
