"""`stromboli messages`: prints a session's conversation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from stromboli import visible
from stromboli.cli import cluster, completion


@click.command()
@click.argument("session", shell_complete=completion.complete_sessions)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Output format.")
@cluster.options
def messages(session: str, output: str, namespace: str | None, context: str, kubeconfig: Path | None) -> None:
    """Print the conversation of an AgentSession.

    The oldest message comes first. The conversation is on the node, and the API server asks the operator there for it.
    You must be allowed to `get` agentsessions/messages of the group agents.stromboli.dev.
    """
    from stromboli.api import client

    with cluster.user(namespace, context, kubeconfig) as user:
        told = client.messages(user, user.namespace, session)
    click.echo(json.dumps(told, indent=2) if output == "json" else text(told))


def text(told: Mapping[str, Any]) -> str:
    """The conversation as readable text, without the control characters that an agent may have written."""
    parts = ["(some messages are not shown)"] if told.get("truncated") else []
    for message in told.get("messages", ()):
        head = [message["role"], message["time"] or "-", *(f"[{name}]" for name in message["tools"])]
        said = message["text"] + (" …" if message["truncated"] else "")
        parts.append(visible.text("  ".join(head) + (f"\n{said}" if said else "")))
    return "\n\n".join(parts) or "the conversation has no messages yet"
