"""Named sessions: installs that survive, one run at a time, conversations that go on, deletion."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from stromboli import naming
from tests.support.cluster import Kubectl
from tests.support.host import Host
from tests.support.operator import Standin
from tests.support.runs import Object, Runs, condition, finished

COUNT = "echo x >> /usr/lib/count-{0}; echo {0}: $(wc -l < /usr/lib/count-{0})"
LIFECYCLE = {
    "onCreateCommand": [COUNT.format("create")],
    "postCreate": [COUNT.format("post")],
    "postStart": [COUNT.format("start")],
}


@pytest.fixture(scope="module")
def space(spaces: Callable[..., Runs]) -> Runs:
    return spaces("sessions")


def tails(run: Object) -> list[str]:
    """What each hook wrote last."""
    return [step["tail"].strip() for step in run["status"]["steps"] if step["hook"] != "agent"]


def session(kubectl: Kubectl, space: Runs, name: str) -> Object:
    found: Object = json.loads(kubectl("-n", space.namespace, "get", "agentsession", name, "-o", "json"))
    return found


def idle(kubectl: Kubectl, space: Runs, name: str) -> Object:
    """The session, once no run has it any more."""
    kubectl("-n", space.namespace, "wait", "--for=jsonpath={.status.conditions[0].reason}=Available", "--timeout=20s",
            f"agentsession/{name}")  # fmt: skip
    return session(kubectl, space, name)


def go(space: Runs, name: str, **spec: Any) -> Object:
    """A run that ends well."""
    space.apply(name, **spec)
    done = space.until(name, finished)
    assert condition(done)["reason"] == "Completed", condition(done)["message"]
    return done


def test_installs_stay_and_the_conversation_goes_on(
    space: Runs, standin: Standin, python_image: str, kubectl: Kubectl, host: Host
) -> None:
    chosen = {"name": "story"}
    first = go(space, "s1", prompt="ECHO{one}", image=python_image, session=chosen, lifecycle=LIFECYCLE)
    assert tails(first) == ["create: 1", "post: 1", "start: 1"]
    second = go(space, "s2", prompt="ECHO{two}", session=chosen)
    assert tails(second) == ["start: 2"]
    asked = [r for r in standin.requests() if "ECHO{two}" in str(r["last_user_text"])]
    assert [text for r in asked for text in r["user_texts"] if "ECHO" in text] == ["ECHO{one}", "ECHO{two}"]
    found = idle(kubectl, space, "story")
    assert found["status"]["runs"] == 2
    assert found["status"]["claudeSessionID"] == second["status"]["session"]["claudeSessionID"]
    assert "currentRun" not in found["status"]
    uid = found["metadata"]["uid"]
    kubectl("-n", space.namespace, "delete", "agentsession", "story")
    host.await_gone(uid)
    assert naming.container(uid) not in str(host.containers())
