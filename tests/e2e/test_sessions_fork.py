"""A fork: a copy of a session's conversation and filesystem that is then independent."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from stromboli import naming
from tests.support.cluster import Kubectl
from tests.support.host import Host
from tests.support.operator import Standin
from tests.support.runs import Runs, condition, finished, reason_is
from tests.support.sessions import go, idle, tails

COUNT = "echo x >> /usr/lib/{0}; echo {0}: $(wc -l < /usr/lib/{0})"
HOOKS = {"onCreateCommand": [COUNT.format("created")], "postStart": [COUNT.format("started")]}


@pytest.fixture(scope="module")
def space(spaces: Callable[..., Runs]) -> Runs:
    return spaces("forks")


@pytest.fixture(scope="module")
def light(spaces: Callable[..., Runs]) -> Runs:
    """For what does not depend on the conversation."""
    return spaces("light-forks", light=True)


def heard(standin: Standin, mark: str) -> list[str]:
    """The whole conversation as of the request whose prompt contains this text."""
    [asked] = [r for r in standin.requests() if f"{{{mark}}}" in str(r["last_user_text"])]
    return [text for text in asked["user_texts"] if text.startswith("ECHO{")]


def test_a_fork_has_all_of_its_parent_and_leaves_it_alone(
    space: Runs, standin: Standin, python_image: str, kubectl: Kubectl, host: Host
) -> None:
    go(space, "a1", prompt="ECHO{a1}", image=python_image, session={"name": "a"}, lifecycle=HOOKS)
    forked = go(space, "b1", prompt="ECHO{b1}", session={"name": "b", "fork": "a"})
    assert tails(forked) == ["started: 2"], "its installs are there, and its hooks have not run again"
    assert heard(standin, "b1") == ["ECHO{a1}", "ECHO{b1}"]
    go(space, "a2", prompt="ECHO{a2}", session={"name": "a"})
    assert heard(standin, "a2") == ["ECHO{a1}", "ECHO{a2}"], "the parent knows nothing of it"
    again = go(space, "b2", prompt="ECHO{b2}", session={"name": "b", "fork": "a"})
    assert tails(again) == ["started: 3"]
    assert heard(standin, "b2") == ["ECHO{a1}", "ECHO{b1}", "ECHO{b2}"]
    parent, child = idle(space, "a"), idle(space, "b")
    assert child["status"]["forkedFrom"]["uid"] == parent["metadata"]["uid"]
    assert child["status"]["forkedFrom"]["filesystem"] == "Copied"
    copy = host.podman.run("image", "inspect", "--format", "{{.Id}}", naming.copy(child["metadata"]["uid"])).strip()
    for run in (forked, again):
        assert run["status"]["image"]["containerImageID"] == copy != run["status"]["image"]["id"]
    assert child["status"]["claudeSessionID"] not in ("", parent["status"]["claudeSessionID"])
    assert (parent["status"]["runs"], child["status"]["runs"]) == (2, 2)
    uid = child["metadata"]["uid"]
    kubectl("-n", space.namespace, "delete", "asess", "b")
    host.await_gone(uid)
    host.until(
        lambda: naming.copy(uid) not in host.podman.run("images", "--format", "{{.Repository}}:{{.Tag}}"), "gone"
    )
    assert tails(go(space, "a3", prompt="ECHO{a3}", session={"name": "a"})) == ["started: 3"]


def test_another_parent_is_refused(space: Runs, python_image: str) -> None:
    go(space, "p1", prompt="ECHO{p1}", image=python_image, session={"name": "plain"})
    space.apply("p2", prompt="ECHO{never}", session={"name": "plain", "fork": "a"})
    refused = condition(space.until("p2", finished))
    assert (refused["reason"], "exists and is no fork" in refused["message"]) == ("InvalidSpec", True)


def test_a_fork_waits_for_its_parents_run(space: Runs, python_image: str, standin: Standin) -> None:
    space.apply("w1", prompt="SLEEP{4} ECHO{w1}", image=python_image, session={"name": "busy"})
    space.until("w1", reason_is("Running"))
    space.apply("w2", prompt="ECHO{w2}", session={"name": "copy", "fork": "busy"})
    waiting = condition(space.until("w2", reason_is("Queued")))
    assert waiting["message"] == "behind the run w1 in the queue of the session busy"
    done = space.until("w2", finished)
    assert condition(done)["reason"] == "Completed", condition(done)["message"]
    [asked] = [r for r in standin.requests() if "{w2}" in str(r["last_user_text"])]
    assert any("{w1}" in text for text in asked["user_texts"])


def test_a_fork_may_have_other_hooks_and_resources(light: Runs, python_image: str) -> None:
    go(light, "o1", prompt="ECHO{o1}", image=python_image, session={"name": "origin"}, lifecycle=HOOKS)
    other = {"onCreateCommand": [COUNT.format("created")], "postCreate": ["echo more"]}
    chosen = {"name": "other", "fork": "origin"}
    assert tails(go(light, "o2", prompt="ECHO{o2}", session=chosen, lifecycle=other)) == ["created: 2", "more"]


def test_forks_of_forks_pile_up_no_layers(light: Runs, python_image: str, host: Host) -> None:
    go(light, "l0", prompt="ECHO{l0}", image=python_image, session={"name": "gen-0"}, lifecycle=HOOKS)
    for n in range(1, 6):
        chosen = {"name": f"gen-{n}", "fork": f"gen-{n - 1}"}
        assert tails(go(light, f"l{n}", prompt=f"ECHO{{l{n}}}", session=chosen)) == [f"started: {n + 1}"]
    layers = []
    for n in range(1, 6):
        uid = idle(light, f"gen-{n}")["metadata"]["uid"]
        layers.append(len(json.loads(host.podman.run("inspect", naming.copy(uid)))[0]["RootFS"]["Layers"]))
    assert max(layers) <= 17, layers
