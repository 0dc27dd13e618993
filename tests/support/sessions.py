"""Helpers for named sessions in end-to-end tests."""

from __future__ import annotations

import json
from typing import Any

from tests.support.runs import Object, Runs, condition


def go(space: Runs, name: str, **spec: Any) -> Object:
    """A run that has to complete successfully."""
    done = space.run(name, **spec)
    assert condition(done)["reason"] == "Completed", condition(done)["message"]
    return done


def tails(run: Object) -> list[str]:
    """The last output of each hook."""
    return [step["tail"].strip() for step in run["status"]["steps"] if step["hook"] != "agent"]


def session(space: Runs, name: str) -> Object:
    found: Object = json.loads(space.kubectl("-n", space.namespace, "get", "agentsession", name, "-o", "json"))
    return found


def idle(space: Runs, name: str) -> Object:
    """Wait until no run holds the session any more. Returns the session."""
    until = "--for=jsonpath={.status.conditions[0].reason}=Available"
    space.kubectl("-n", space.namespace, "wait", until, "--timeout=20s", f"agentsession/{name}")
    return session(space, name)
