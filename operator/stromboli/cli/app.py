"""The group of all commands. Adding one: write it in a module here, and list it below.

This module and those it imports stay light, since every command loads them: the modules that do the work are
imported inside the commands.
"""

from __future__ import annotations

import click

from stromboli.cli import completion, gateway, lifecycle, login, messages, operator, show
from stromboli.cli.compose import commands as compose
from stromboli.cli.images import commands as images
from stromboli.cli.logs.commands import logs
from stromboli.cli.runs import commands as runs
from stromboli.cli.runs.run import run


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="stromboli-operator", prog_name="stromboli", message="%(prog)s %(version)s")
def app() -> None:
    """Claude Code inside any glibc container image, as a Kubernetes operator on Podman.

    The commands about runs, sessions and images work on the cluster of your kubeconfig: KUBECONFIG, or ~/.kube/config,
    or that of the installation on this machine. All others, but `operator` and `gateway`, work on this installation,
    whose files are in STROMBOLI_HOME (default: ~/.local/share/stromboli, or stromboli in XDG_DATA_HOME).
    """


for _command in (
    lifecycle.up,
    lifecycle.down,
    show.status,
    show.doctor,
    show.env,
    show.kubeconfig,
    lifecycle.demo,
    lifecycle.fetch,
    login.login,
    login.logout,
    run,
    runs.get,
    runs.wait,
    runs.cancel,
    runs.suspend,
    runs.resume,
    runs.rerun,
    logs,
    messages.messages,
    images.images,
    compose.compose,
    operator.operator,
    gateway.gateway,
    completion.completion,
):
    app.add_command(_command)
