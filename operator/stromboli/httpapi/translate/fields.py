"""The names of an AgentRun's fields in a request: `spec.claude.maxTurns` → `claude.max_turns`. Pure.

A caller of the HTTP API has never seen an AgentRun, so whatever is wrong with one is said in the request's names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# Where a field of the spec is in a request, and whether what is below it is there, too.
_PLACES: dict[str, tuple[str, bool]] = {
    "prompt": ("prompt", False),
    "image": ("podman.image", False),
    "workdir": ("workdir", False),
    "volumes": ("podman.volumes", True),
    "env": ("podman.secrets_env", False),
    "lifecycle": ("podman.lifecycle", True),
    "environment": ("podman.environment", True),
    "session": ("claude.session_id", False),
    "claude": ("claude", True),
    "resources": ("podman", True),
    "timeout": ("podman.timeout", False),
    "notify": ("webhook_url", False),
}
_SPEC = re.compile(r"spec\.(?P<head>[a-z]+)(?:\[(?P<index>[0-9]+)\])?(?P<rest>(?:[.\[].*)?)", re.DOTALL)
_OWN = re.compile(r"\.[a-zA-Z]+")
_SAID = re.compile(r"(?P<field>spec(?:\.[^\s:]+)?): (?P<why>.+)", re.DOTALL)


def snake(name: str) -> str:
    """`maxBudgetUSD` → `max_budget_usd`."""
    return re.sub("[A-Z]+", lambda capitals: f"_{capitals[0].lower()}", name)


def of_request(path: str, variables: Sequence[str] = ()) -> str:
    """The path of a field of the spec in a request; empty if it is in no request.

    `variables` are the names of `secrets_env`, which an AgentRun has as a list.
    """
    match = _SPEC.fullmatch(path)
    if match is None or match["head"] not in _PLACES:
        return ""
    place, goes_on = _PLACES[match["head"]]
    index = "" if match["index"] is None else f"[{match['index']}]"
    if match["head"] == "env" and index and int(match["index"]) < len(variables):
        return f"{place}.{variables[int(match['index'])]}"
    if not goes_on:
        return place
    return place + index + _OWN.sub(lambda own: snake(own[0]), match["rest"], count=1)


def sentence(said: str, variables: Sequence[str] = ()) -> tuple[str, str]:
    """The field, in a request's names, and what is said of it, of a message that begins with a field of the spec.

    The field is empty if the message begins otherwise, or with one that is in no request.
    """
    match = _SAID.fullmatch(said)
    if match is None:
        return "", said
    return of_request(match["field"], variables), match["why"]
