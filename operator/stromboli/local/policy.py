"""The policy and the operator's settings that a local installation creates, so that a first run works. Pure.

Once it exists, the AgentPolicy `local` belongs to the user: later, only its network and the variables through which
agents reach Claude are updated. Images and credentials are settings of the operator, which apply unless a policy sets
them, so that they never contradict a policy of the user's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stromboli.local.answers import BASE_URL, SECRET, Answers, Claude
from stromboli.naming import API_VERSION

NAME = "local"
# Docker Hub's official images, and images that were built on this machine.
ALLOWED_IMAGES = ("*", "localhost/**")
# Generous limits against mistakes. There are none of memory and CPUs: each would also apply to every run that does not
# set its own.
LIMITS = {"pids": 8192, "timeout": "24h", "maxTurns": 1000, "maxBudgetUSD": 100}
_SOCKET = "ANTHROPIC_UNIX_SOCKET"
# The prefix of images that were built here: a newer build, or an image that can be pulled, replaces them.
_BUILT = "localhost/stromboli/"


@dataclass(frozen=True, slots=True)
class Images:
    """The names of the two images, with tags; those under `localhost/` were built here."""

    cli: str
    base: str


def created() -> dict[str, Any]:
    """The initial policy."""
    return _policy({"images": {"allowed": list(ALLOWED_IMAGES)}, "limits": dict(LIMITS)})


def following(answers: Answers, socket: Path | None) -> dict[str, Any]:
    """The policy's fields that depend on who answers. With a `socket`, agents can reach only that, and no network."""
    if socket is not None:
        network, env = "none", {_SOCKET: str(socket)}
    else:
        network = "bridge"
        env = {BASE_URL: answers.base_url} if isinstance(answers, Claude) and answers.base_url else {}
    return _policy({"network": network, "env": [{"name": name, "value": value} for name, value in env.items()]})


def stated(before: Mapping[str, Any], now: Mapping[str, str]) -> dict[str, Any]:
    """The keys under `agent:` that the user has set, out of the settings file's `before` and the environment's `now`.

    A key keeps its value until the environment sets another; an empty value there removes it. Names of images that were
    built here are left out, since the user did not set them.
    """
    built = {k for k in ("cli_image", "image") if str(before.get(k, "")).startswith(_BUILT)}
    if "cli_image" in built:
        built |= {"cli_image_tag", "auto_pull_cli"}
    kept = {key: value for key, value in before.items() if key not in built}
    return {key: value for key, value in {**kept, **now}.items() if value != ""}


def found(images: Images) -> dict[str, Any]:
    """The keys that name the images found and the Secret with the credentials."""
    return {**_cli(images.cli), "image": images.base, "credentials_secret": SECRET}


def render(agent: Mapping[str, Any]) -> str:
    """The text of the settings file."""
    head = "# The operator's settings. `stromboli up` updates the images, and keeps what STROMBOLI_AGENT_* has set.\n"
    return head + yaml.safe_dump({"agent": dict(agent)}, sort_keys=True)


def _policy(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": "AgentPolicy", "metadata": {"name": NAME}, "spec": dict(spec)}


def _cli(name: str) -> dict[str, Any]:
    pull = {"auto_pull_cli": False} if name.startswith(_BUILT) else {}
    if "@" in name:
        return {"cli_image": name, **pull}
    image, _, tag = name.rpartition(":")
    return {"cli_image": image, "cli_image_tag": tag, **pull}
