"""What a session refuses, how current policies apply to it, and what is never stored in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stromboli import naming
from tests.support.cluster import Kubectl
from tests.support.host import Host
from tests.support.operator import OperatorProcess, Standin
from tests.support.runs import Runs, condition, finished, reason_is
from tests.support.sessions import session

SECRET = "stand-in-key-5f1c"


@pytest.fixture(scope="module")
def space(spaces: Callable[..., Runs]) -> Runs:
    return spaces("session-rules", light=True)


@pytest.fixture
def own(spaces: Callable[..., Runs], request: pytest.FixtureRequest) -> Runs:
    """A namespace for one test's own policies."""
    return spaces(f"own-{request.node.name[5:40].replace('_', '-')}".strip("-"), own=True)


def ended(space: Runs, name: str, **spec: Any) -> tuple[str, str]:
    space.apply(name, **spec)
    found = condition(space.until(name, finished))
    return found["reason"], found["message"]


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"name": "other/story"}, "always one of the run's own namespace"),
        ({"name": "Story"}, "is not the name of a session"),
        ({"name": ""}, "name"),
        ({"name": "a", "fork": "a"}, "cannot be a fork of itself"),
        ({"fork": "a"}, "name"),
        ({"name": "a", "resume": True}, "session.resume"),
    ],
)
def test_each_mistake_is_refused_at_apply(space: Runs, chosen: dict[str, Any], said: str) -> None:
    assert said in space.refused("wrong", prompt="x", session=chosen)


def test_the_template_is_fixed_once_it_is_filled(space: Runs, kubectl: Kubectl, python_image: str) -> None:
    body = {
        "apiVersion": "stromboli.dev/v1alpha1",
        "kind": "AgentSession",
        "metadata": {"name": "fixed", "namespace": space.namespace},
        "spec": {"title": "first"},
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(body))
    kubectl("-n", space.namespace, "wait", "--for=condition=Ready", "--timeout=20s", "asess/fixed")
    assert ended(space, "fills-it", prompt="ECHO{x}", image=python_image, session={"name": "fixed"})[0] == "Completed"
    found = session(space, "fixed")
    assert found["spec"] == {"title": "first", "template": {"image": python_image}}
    change = {**body, "spec": {"title": "second", "template": {"image": "debian:12"}}}
    refused = kubectl.attempt("apply", "-f", "-", stdin=json.dumps(change))
    assert refused.returncode != 0
    assert "template cannot be changed once it is set" in refused.stderr
    change["spec"] = {"title": "second"}
    kubectl("apply", "-f", "-", stdin=json.dumps(change))
    head, row, *_ = kubectl("-n", space.namespace, "get", "asess", "fixed").split("\n")
    assert head.split() == ["NAME", "TITLE", "IMAGE", "RUNS", "LAST", "USED", "READY", "AGE"]
    assert row.split()[:4] == ["fixed", "second", python_image, "1"]


def test_a_fork_of_what_is_not_there_waits_and_says_so(space: Runs, python_image: str, kubectl: Kubectl) -> None:
    space.apply("waits", prompt="ECHO{x}", image=python_image, session={"name": "child", "fork": "absent"})
    found = condition(space.until("waits", reason_is("WaitingForReference")))
    assert "the namespace has no AgentSession absent yet" in found["message"]
    assert "NotFound" in kubectl.attempt("-n", space.namespace, "get", "asess", "child").stderr
    space.delete("waits")


def test_the_image_of_a_session_that_a_policy_no_longer_allows(
    own: Runs, light_spec: dict[str, Any], python_image: str
) -> None:
    own.policy("rules", **light_spec)
    assert ended(own, "r1", prompt="ECHO{x}", image=python_image, session={"name": "s"})[0] == "Completed"
    own.policy("rules", **light_spec | {"images": {"allowed": ["debian:*"]}})
    reason, message = ended(own, "r2", prompt="ECHO{x}", session={"name": "s"})
    assert reason == "ImageNotAllowed"
    assert "debian:*" in message


def test_the_volume_of_a_session_that_a_policy_no_longer_allows(
    own: Runs, light_spec: dict[str, Any], python_image: str, standin: Standin
) -> None:
    work = standin.folder.parent / "work"
    work.mkdir(exist_ok=True)
    own.policy("rules", **light_spec)
    volumes = [f"{work}:/work"]
    assert (
        ended(own, "r1", prompt="ECHO{x}", image=python_image, volumes=volumes, session={"name": "s"})[0] == "Completed"
    )
    own.policy("rules", **light_spec | {"volumes": {"allowed": []}})
    reason, message = ended(own, "r2", prompt="ECHO{x}", session={"name": "s"})
    assert (reason, str(work) in message) == ("PolicyViolation", True)


def test_a_volume_that_leads_elsewhere_by_now(
    own: Runs, light_spec: dict[str, Any], python_image: str, standin: Standin
) -> None:
    work = standin.folder.parent / "work"
    for name in ("one", "two"):
        (work / name).mkdir(parents=True, exist_ok=True)
    link = work / "link"
    link.symlink_to("one")
    own.policy("rules", **light_spec)
    volumes = [f"{link}:/work"]
    assert (
        ended(own, "r1", prompt="ECHO{x}", image=python_image, volumes=volumes, session={"name": "s"})[0] == "Completed"
    )
    link.unlink()
    link.symlink_to("two")
    reason, message = ended(own, "r2", prompt="ECHO{x}", session={"name": "s"})
    assert (reason, f"{work}/two:/work:rw" in message) == ("PolicyViolation", True)


def test_neither_secret_nor_prompt_stands_in_a_container_that_is_kept(
    space: Runs, python_image: str, kubectl: Kubectl, host: Host
) -> None:
    hooks = {"postStart": ['test -n "$ANTHROPIC_API_KEY"']}
    env = [{"name": "MARK", "value": "mark-in-env"}]
    spec = {"prompt": "ECHO{mark-in-prompt}", "image": python_image, "lifecycle": hooks, "env": env}
    assert ended(space, "private", session={"name": "private"}, **spec)[0] == "Completed"
    for awaited in ("{.status.conditions[0].reason}=Available", "{.status.sizeBytes}"):
        kubectl("-n", space.namespace, "wait", f"--for=jsonpath={awaited}", "asess/private")
    found = session(space, "private")
    whole = host.podman.run("inspect", naming.agent(found["metadata"]["uid"]).name) + json.dumps(found)
    for mark in (SECRET, "mark-in-prompt", "mark-in-env"):
        assert mark not in whole
    assert not (host.runtime_dir / "secrets" / found["metadata"]["uid"]).exists()
    assert found["status"]["sizeBytes"] > 0


def test_a_runs_deletion_never_removes_its_session(space: Runs, python_image: str, host: Host) -> None:
    assert ended(space, "gone", prompt="ECHO{x}", image=python_image, session={"name": "stays"})[0] == "Completed"
    run = space.get("gone")["metadata"]["uid"]
    uid = session(space, "stays")["metadata"]["uid"]
    space.delete("gone")
    attempts = host.home / "sessions" / uid / "attempts"
    host.until(lambda: not [p for p in attempts.iterdir() if p.name.startswith(run)], "the run's attempt is gone")
    assert naming.agent(uid).name in [c["Names"][0] for c in host.agents()]
    assert naming.volume(uid) in host.volumes()


def test_deleted_with_the_operator_down_nothing_stays(
    space: Runs, python_image: str, kubectl: Kubectl, host: Host, steady_operator: OperatorProcess
) -> None:
    assert ended(space, "down", prompt="ECHO{x}", image=python_image, session={"name": "down"})[0] == "Completed"
    uid = session(space, "down")["metadata"]["uid"]
    steady_operator.stop()
    kubectl("-n", space.namespace, "delete", "asess", "down")
    assert host.left(uid)
    steady_operator.start()
    host.await_gone(uid)


def test_its_files_on_the_node_are_the_operators_alone(space: Runs, host: Host) -> None:
    for folder in (host.home / "sessions").iterdir():
        assert folder.stat().st_mode & 0o077 == 0, Path(folder)


def test_a_tag_that_has_moved_is_said_and_changes_nothing(space: Runs, python_image: str, host: Host) -> None:
    moving = "localhost/stromboli-test/moving:1"
    host.podman.run("tag", python_image, moving)
    assert ended(space, "moved-1", prompt="ECHO{x}", image=moving, session={"name": "moved"})[0] == "Completed"
    began = space.get("moved-1")["status"]["image"]["id"]
    made = host.podman.run("create", "--name", "another", python_image)
    host.podman.run("commit", "--quiet", made, moving)
    host.podman.run("rm", "another")
    assert ended(space, "moved-2", prompt="ECHO{x}", image=moving, session={"name": "moved"})[0] == "Completed"
    assert space.get("moved-2")["status"]["image"]["id"] == began
    host.until(lambda: "ImagePinned" in [e["reason"] for e in space.events("moved-2")], "an event is emitted")
