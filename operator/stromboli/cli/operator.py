"""`stromboli operator`: the operator itself, in the foreground."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="YAML file with settings under `agent:`; the environment (STROMBOLI_AGENT_…) wins.",
)
def operator(config: Path | None) -> None:
    """Run the operator in the foreground, on the cluster in KUBECONFIG and the Podman in CONTAINER_HOST.

    This is what a Deployment runs; on one machine, `stromboli up` runs it in the background.
    """
    from stromboli.handlers.run import run_operator

    run_operator(config)
