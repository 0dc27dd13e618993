"""What the demo puts into the local cluster: a policy, and a Secret with Claude's credentials. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stromboli.naming import API_VERSION

NAME = "local"
NAMESPACE = "stromboli-system"
SECRET = "claude-credentials"
# Docker Hub's official images, and what was built on this machine.
ALLOWED_IMAGES = ("*", "localhost/**")
# What no single run should take by a slip of the pen. Memory and cpus are left to whoever owns the machine: a ceiling
# would be the limit of every run that states none.
LIMITS = {"pids": 8192, "timeout": "24h", "maxTurns": 1000, "maxBudgetUSD": 100}
# The offline answers need none; the CLI refuses to start without one.
_NO_KEY = "offline-stand-in"


@dataclass(frozen=True, slots=True)
class Images:
    """Names of the two images, tags included; those under `localhost/` were built here."""

    cli: str
    base: str


@dataclass(frozen=True, slots=True)
class RealAPI:
    """Claude answers; `base_url` is a gateway's, if the person uses one."""

    key: str
    base_url: str | None = None


@dataclass(frozen=True, slots=True)
class Offline:
    """The stand-in answers, on this socket."""

    socket: Path


Answers = RealAPI | Offline


def answers(environ: Mapping[str, str], standin_socket: Path) -> Answers:
    """Who answers: the real API where `ANTHROPIC_API_KEY` is set, else the stand-in."""
    if key := environ.get("ANTHROPIC_API_KEY"):
        return RealAPI(key, environ.get("ANTHROPIC_BASE_URL") or None)
    return Offline(standin_socket)


def objects(images: Images, source: Answers) -> list[dict[str, Any]]:
    """Namespace, Secret and AgentPolicy, in the order in which they are applied."""
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": NAMESPACE},
            "data": {"ANTHROPIC_API_KEY": base64.b64encode(_key(source).encode()).decode()},
        },
        {
            "apiVersion": API_VERSION,
            "kind": "AgentPolicy",
            "metadata": {"name": NAME},
            "spec": _spec(images, source),
        },
    ]


def _spec(images: Images, source: Answers) -> dict[str, Any]:
    return {
        "images": {"allowed": list(ALLOWED_IMAGES)},
        "cli": _cli(images.cli),
        "defaults": {"image": images.base},
        "limits": dict(LIMITS),
        "network": "none" if isinstance(source, Offline) else "bridge",
        "env": [{"name": name, "value": value} for name, value in _env(source).items()],
        "credentials": {"secretRef": {"name": SECRET, "namespace": NAMESPACE}},
    }


def _cli(name: str) -> dict[str, str]:
    pull = "Never" if name.startswith("localhost/") else "IfNotPresent"
    if "@" in name:
        return {"image": name, "pull": pull}
    image, _, tag = name.rpartition(":")
    return {"image": image, "tag": tag, "pull": pull}


def _key(source: Answers) -> str:
    return source.key if isinstance(source, RealAPI) else _NO_KEY


def _env(source: Answers) -> dict[str, str]:
    if isinstance(source, Offline):
        return {"ANTHROPIC_UNIX_SOCKET": str(source.socket)}
    return {"ANTHROPIC_BASE_URL": source.base_url} if source.base_url else {}
