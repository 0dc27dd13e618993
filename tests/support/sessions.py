"""Helpers for named sessions in end-to-end tests."""

from __future__ import annotations

from typing import Any

from stromboli.kube.kinds import AgentSession
from tests.support.runs import Object, Runs, completed
from tests.support.waiting import eventually


def go(space: Runs, name: str, **spec: Any) -> Object:
    """A run that has to complete successfully."""
    return completed(space.run(name, **spec))


def tails(run: Object) -> list[str]:
    """The last output of each hook."""
    return [step["tail"].strip() for step in run["status"]["steps"] if step["hook"] != "agent"]


def session(space: Runs, name: str) -> Object:
    return dict(space.client.get(AgentSession, name, namespace=space.namespace))


def idle(space: Runs, name: str) -> Object:
    """Wait until no run holds the session any more. Returns the session."""

    def available() -> bool:
        return [c["reason"] for c in session(space, name).get("status", {}).get("conditions", [])][:1] == ["Available"]

    eventually(available, f"{name} is available", lambda: session(space, name).get("status"))
    return session(space, name)
