"""`stromboli run`: its arguments. What they mean for the manifest is one table; a new option is a line there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from stromboli.cli import cluster, completion, exitcodes


@dataclass(frozen=True, slots=True)
class Flag:
    """An option, the field of the spec that it sets, and more about it for click."""

    names: tuple[str, ...]
    path: str
    help: str
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.path.replace(".", "_").lower()


_SESSION: dict[str, Any] = {"shell_complete": completion.complete_sessions}
_MANY: dict[str, Any] = {"multiple": True}
_YES: dict[str, Any] = {"is_flag": True, "default": None}
_FILE: dict[str, Any] = {"type": click.Path(path_type=Path, exists=True, dir_okay=False)}
_MODES = ["acceptEdits", "auto", "bypassPermissions", "default", "manual", "dontAsk", "plan"]

FLAGS = (
    Flag(("--session",), "session.name", "The AgentSession to continue, or to create.", _SESSION),
    Flag(("--fork",), "session.fork", "The session to copy, if --session is a new one.", _SESSION),
    Flag(("--volume", "-v"), "volumes", "A folder of the node to mount, HOST:CONTAINER[:ro]; repeat.", _MANY),
    Flag(("--env", "-e"), "env", "A variable NAME=VALUE, or NAME with its value of here; repeat.", _MANY),
    Flag(("--workdir", "-w"), "workdir", "The agent's folder in the container."),
    Flag(("--memory", "-m"), "resources.memory", "Limit of memory, such as 1Gi."),
    Flag(("--cpus",), "resources.cpus", "Limit of CPUs, such as 2 or 500m."),
    Flag(("--pull-secret",), "imagePullSecrets", "A Secret with credentials for the image; repeat.", _MANY),
    Flag(("--timeout",), "timeout", "Limit of each attempt, such as 10m."),
    Flag(("--progress-timeout",), "progressTimeout", "End an attempt that writes nothing for so long."),
    Flag(("--retries",), "backoffLimit", "How many attempts may follow the first.", {"type": int}),
    Flag(("--retry-on",), "retryOn", "A reason to try again although the prompt was sent; repeat.", _MANY),
    Flag(("--fail-on-denied",), "failOnDenied", "Fail if the agent is denied the use of a tool.", _YES),
    Flag(("--ttl",), "ttlSecondsAfterFinished", "Seconds after its end until the run is deleted.", {"type": int}),
    Flag(("--suspend",), "suspend", "Create it suspended: `stromboli resume` starts it.", _YES),
    Flag(("--model",), "claude.model", "The model: sonnet, opus, or a full name."),
    Flag(("--max-turns",), "claude.maxTurns", "Limit of turns.", {"type": int}),
    Flag(("--max-budget-usd",), "claude.maxBudgetUSD", "Limit of costs in US dollars.", {"type": float}),
    Flag(("--append-system-prompt",), "claude.appendSystemPrompt", "Text to add to the system prompt."),
    Flag(("--allowed-tool",), "claude.allowedTools", "A tool to use without asking: `Bash(git *)`; repeat.", _MANY),
    Flag(("--disallowed-tool",), "claude.disallowedTools", "A tool that may not be used; repeat.", _MANY),
    Flag(("--permission-mode",), "claude.permissionMode", "The permission mode.", {"type": click.Choice(_MODES)}),
    Flag(("--dangerously-skip-permissions",), "claude.dangerouslySkipPermissions", "Ask for nothing.", _YES),
    Flag(("--json-schema",), "claude.jsonSchema", "A file with the JSON Schema of the answer.", _FILE),
    Flag(("--mcp-config",), "claude.mcpConfigs", "A file with MCP servers; repeat.", {**_FILE, **_MANY}),
)


def _flags(command: Callable[..., Any]) -> Callable[..., Any]:
    for flag in reversed(FLAGS):
        command = click.option(*flag.names, flag.key, help=flag.help, **flag.more)(command)
    return command


@click.command(
    epilog=f"""Exit codes: 0 it succeeded, {exitcodes.FAILED} it failed, {exitcodes.REFUSED} it was refused, by the API
    server or by the operator, {exitcodes.CANCELED} it was canceled, {exitcodes.TIMED_OUT} it timed out,
    {exitcodes.DETACHED} it is no longer followed, and goes on."""
)
@click.argument("image", required=False)
@click.argument("words", nargs=-1, metavar="[PROMPT]...")
@click.option("-p", "--prompt", help="The prompt, for a run without IMAGE in the policy's image.")
@click.option(
    "-f",
    "--filename",
    type=click.Path(allow_dash=True),
    metavar="FILE",
    help="A manifest of an AgentRun, which all else completes; - is standard input.",
)
@click.option("--name", help="The run's name. Default: a generated one.")
@click.option("--generate-name", metavar="PREFIX", help="Generate a name that begins so. Default: run-.")
@click.option("-l", "--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label of the run; repeat.")
@_flags
@click.option("-d", "--detach", is_flag=True, help="Create it, print its name, and do not follow it.")
@click.option("--rm", "remove", is_flag=True, help="Delete it when it has ended.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["conversation", "text", "json", "yaml", "name"]),
    default="conversation",
    help="What goes to standard output: the conversation as it goes; only the answer, in the end; the run as it is in "
    "the end; or its name.",
)
@click.option("--dry-run", is_flag=True, help="Print the manifest, and create nothing.")
@cluster.options
def run(namespace: str | None, context: str, kubeconfig: Path | None, **given: Any) -> None:
    """Run an agent: create an AgentRun, follow it, and exit by how it ends.

    PROMPT is one or more words; a single - stands for standard input, which is also read if there is no PROMPT and
    something is piped. ^C cancels the run, and a second one leaves it to the operator.

    \b
    stromboli run python:3.12 "What is in /workspace?" -v ./src:/workspace:ro
    stromboli run python:3.12 --session review - < question.txt
    stromboli run -f run.yaml --timeout 20m
    """
    from stromboli.cli.runs import launching

    raise click.exceptions.Exit(launching.run(namespace, context, kubeconfig, given))
