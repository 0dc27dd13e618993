"""`stromboli messages`: prints a session's conversation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from stromboli import visible
from stromboli.cli import installation


@click.command()
@click.argument("session")
@click.option("-n", "--namespace", help="The session's namespace. Default: the kubeconfig's.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Output format.")
def messages(session: str, namespace: str | None, output: str) -> None:
    """Print the conversation of an AgentSession.

    The oldest message comes first. The conversation is on the node, so the operator is asked for it, with the token in
    KUBECONFIG (default: the local installation's). The token's user must be allowed to `get` agentsessions/messages.
    Run it on the operator's machine.
    """
    from stromboli.api import client

    operator = installation.operator(namespace)
    told = client.messages(operator.address, operator.token, operator.namespace, session)
    click.echo(json.dumps(told, indent=2) if output == "json" else text(told))


def text(told: Mapping[str, Any]) -> str:
    """The conversation as readable text, without the control characters that an agent may have written."""
    parts = ["(some messages are not shown)"] if told.get("truncated") else []
    for message in told.get("messages", ()):
        head = [message["role"], message["time"] or "-", *(f"[{name}]" for name in message["tools"])]
        said = message["text"] + (" …" if message["truncated"] else "")
        parts.append(visible.text("  ".join(head) + (f"\n{said}" if said else "")))
    return "\n\n".join(parts) or "the conversation has no messages yet"
