"""Named sessions as the end-to-end tests see them."""

from __future__ import annotations

import json
from typing import Any

from tests.support.runs import Object, Runs, condition


def go(space: Runs, name: str, **spec: Any) -> Object:
    """A run that ends well."""
    done = space.run(name, **spec)
    assert condition(done)["reason"] == "Completed", condition(done)["message"]
    return done


def tails(run: Object) -> list[str]:
    """What each hook wrote last."""
    return [step["tail"].strip() for step in run["status"]["steps"] if step["hook"] != "agent"]


def session(space: Runs, name: str) -> Object:
    found: Object = json.loads(space.kubectl("-n", space.namespace, "get", "agentsession", name, "-o", "json"))
    return found


def idle(space: Runs, name: str) -> Object:
    """The session, once no run has it any more."""
    until = "--for=jsonpath={.status.conditions[0].reason}=Available"
    space.kubectl("-n", space.namespace, "wait", until, "--timeout=20s", f"agentsession/{name}")
    return session(space, name)
