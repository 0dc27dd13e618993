"""`stromboli operator`: the operator itself, in the foreground."""

from __future__ import annotations

import gc
from pathlib import Path

import click


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="YAML file with settings under `agent:`; variables named STROMBOLI_AGENT_… override them.",
)
def operator(config: Path | None) -> None:
    """Run the operator in the foreground.

    It works with the cluster in KUBECONFIG (in a Pod: the Pod's own) and with the Podman in CONTAINER_HOST. A
    Deployment runs this command; on one machine, `stromboli up` runs it in the background.
    """
    gc.disable()  # what an import creates stays: collections meanwhile find nothing, and take a tenth of the start
    from stromboli.handlers.run import run_operator

    gc.freeze()  # nor need any later collection go through it
    gc.enable()
    run_operator(config)
