"""`stromboli gateway`: what stands behind the APIService of the read API, in the foreground."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="YAML file with settings under `server:` and `rate_limit:`; variables named STROMBOLI_SERVER_… and "
    "STROMBOLI_RATE_LIMIT_… override them. It may be the operator's.",
)
def gateway(config: Path | None) -> None:
    """Run the gateway of the read API and of the HTTP API in the foreground.

    The API server passes requests for the group agents.stromboli.dev on to it, and it passes them on to the operator
    of the node that has the thing. It works with the cluster in KUBECONFIG (in a Pod: the Pod's own), listens on
    STROMBOLI_GATEWAY_ADDRESS and finds the operators in STROMBOLI_NAMESPACE. With STROMBOLI_SERVER_ADDRESS, it serves
    the HTTP API there. A Deployment runs this command; on one machine, `stromboli up` runs it in the background.
    """
    from stromboli.gateway.process import run_gateway

    run_gateway(config)
