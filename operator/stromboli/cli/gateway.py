"""`stromboli gateway`: what stands behind the APIService of the read API, in the foreground."""

from __future__ import annotations

import click


@click.command()
def gateway() -> None:
    """Run the gateway of the read API in the foreground.

    The API server passes requests for the group agents.stromboli.dev on to it, and it passes them on to the operator
    of the node that has the thing. It works with the cluster in KUBECONFIG (in a Pod: the Pod's own), listens on
    STROMBOLI_GATEWAY_ADDRESS and finds the operators in STROMBOLI_NAMESPACE. A Deployment runs this command; on one
    machine, `stromboli up` runs it in the background.
    """
    from stromboli.gateway.process import run_gateway

    run_gateway()
