"""Helpers for end-to-end tests of stacks: specs of runs in them, and what their services have in Podman."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stromboli import naming
from tests.support.host import Host
from tests.support.runs import Object, Runs, completed, condition, finished

WITHIN = 90.0  # seconds for a run that starts a stack on a busy machine


def spec(shell: str, environment: dict[str, Any], session: str | None = None, **more: Any) -> dict[str, Any]:
    """The spec of a run with the light CLI, whose answer is the output of a shell command in the service `app`."""
    named = {"session": {"name": session}} if session is not None else {}
    given = {"type": "compose", "service": "app", **environment}
    return {"prompt": f"BASH{{{shell}}}", "environment": given, **named, **more}


def on_node(folder: Path, text: str, name: str = "compose.yaml") -> dict[str, Any]:
    """An environment whose file is in this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text)
    return {"path": str(path)}


def answer(run: Object) -> str:
    """The answer of a run that has to have completed."""
    return str(completed(run)["status"]["result"]["text"])


def go(space: Runs, name: str, given: dict[str, Any]) -> str:
    """The answer of a run, which has to complete."""
    return answer(space.run(name, within=WITHIN, **given))


def refusal(space: Runs, name: str, given: dict[str, Any], within: float = WITHIN) -> tuple[str, str]:
    """Reason and message of a run that must not complete."""
    space.apply(name, **given)
    ended = space.until(name, finished, within)
    assert condition(ended)["status"] == "False"
    return condition(ended)["reason"], condition(ended)["message"]


def containers(host: Host, uid: str) -> dict[str, Object]:
    """The containers of a session's services by the names that the file has for them; each has one."""
    found = host.containers(f"{naming.OWNER}={uid}", naming.SUPERVISION)
    by_service = {one["Labels"][naming.SERVICE]: one for one in found}
    assert len(by_service) == len(found), [one["Names"] for one in found]
    return by_service


def inspected(host: Host, container: str) -> Object:
    found: list[Object] = json.loads(host.podman.run("container", "inspect", container))
    return found[0]


def address(host: Host, container: str) -> str:
    """A container's own address on its network."""
    [network] = inspected(host, container)["NetworkSettings"]["Networks"].values()
    return str(network["IPAddress"])


def parts(host: Host, uid: str) -> list[str]:
    """Everything that a session or a run has on this host, also networks."""
    return host.left(uid) + [f"network {name}" for name in host.networks() if uid in name]


def await_gone(host: Host, uid: str, within: float = 30.0) -> None:
    host.until(lambda: not parts(host, uid), f"nothing is left of {uid} ({parts(host, uid)})", within)


def reasons(space: Runs, name: str) -> list[str]:
    """The reasons of the events about an object."""
    return [event["reason"] for event in space.events(name)]


def told(space: Runs, name: str, reason: str) -> list[str]:
    """The messages of the events with this reason."""
    return [event["message"] for event in space.events(name) if event["reason"] == reason]
