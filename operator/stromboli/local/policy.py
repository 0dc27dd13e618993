"""The policy and the operator's settings that a local installation creates, so that a first run works. Pure.

The AgentPolicy `local` is its owner's from the moment it exists: only its network and the variables with which agents
reach Claude follow a login. Images and credentials are settings of the operator, which hold where no policy says
otherwise: a policy that somebody applies never contradicts them.
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
# What no single run should take by mistake. Memory and CPUs are left to the machine's owner: a limit would be
# the limit of every run that states none.
LIMITS = {"pids": 8192, "timeout": "24h", "maxTurns": 1000, "maxBudgetUSD": 100}
_SOCKET = "ANTHROPIC_UNIX_SOCKET"
# Names of images that were built here: a newer build, or one that can be pulled, takes their place.
_BUILT = "localhost/stromboli/"


@dataclass(frozen=True, slots=True)
class Images:
    """Names of the two images, tags included; those under `localhost/` were built here."""

    cli: str
    base: str


def created() -> dict[str, Any]:
    """The initial policy."""
    return _policy({"images": {"allowed": list(ALLOWED_IMAGES)}, "limits": dict(LIMITS)})


def following(answers: Answers, socket: Path | None) -> dict[str, Any]:
    """The fields of the policy that follow who answers. With a `socket` agents reach that and no network at all."""
    if socket is not None:
        network, env = "none", {_SOCKET: str(socket)}
    else:
        network = "bridge"
        env = {BASE_URL: answers.base_url} if isinstance(answers, Claude) and answers.base_url else {}
    return _policy({"network": network, "env": [{"name": name, "value": value} for name, value in env.items()]})


def stated(before: Mapping[str, Any], now: Mapping[str, str]) -> dict[str, Any]:
    """The users' own values for the keys under `agent:` in the settings file, which contains `before`.

    It stays until the environment says otherwise `now`, where an empty value takes a key back. Names of images that
    were built because no other could be had are not among it.
    """
    built = {k for k in ("cli_image", "image") if str(before.get(k, "")).startswith(_BUILT)}
    if "cli_image" in built:
        built |= {"cli_image_tag", "auto_pull_cli"}
    kept = {key: value for key, value in before.items() if key not in built}
    return {key: value for key, value in {**kept, **now}.items() if value != ""}


def found(images: Images) -> dict[str, Any]:
    """The keys that name the available images and the Secret with the credentials."""
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
