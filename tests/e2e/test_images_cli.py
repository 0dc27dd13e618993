"""`stromboli images` for an ordinary user of a namespace: how pulls end, and what nobody else gets to see."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from stromboli.cli import exitcodes
from tests.e2e.test_images import Registry
from tests.support.agentimages import AgentImages
from tests.support.cluster import Kubectl
from tests.support.fake_registry import FakeRegistry
from tests.support.gateways import GatewayProcess
from tests.support.images import build
from tests.support.runs import Runs
from tests.support.waiting import eventually

SPACE, OTHER = "images-cli", "images-cli-other"
SECONDS = 60.0


class User:
    """Runs commands with the token of a service account."""

    def __init__(self, kubeconfig: Path, home: Path) -> None:
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("STROMBOLI_")},
            "KUBECONFIG": str(kubeconfig),
            "STROMBOLI_HOME": str(home),
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "stromboli", "images", *arguments]
        return subprocess.Popen(command, env=self._environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=SECONDS)
        assert "Traceback" not in err
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)


@pytest.fixture(scope="module")
def registry(registry_address: str) -> Iterator[FakeRegistry]:
    with Registry(registry_address) as served:
        yield served


@pytest.fixture(scope="module")
def space(
    spaces: Callable[..., Runs], light_spec: Mapping[str, object], registry_address: str, gateway: GatewayProcess
) -> AgentImages:
    """A namespace that may use what the registries have, and musl images."""
    allowed = {"images": {"allowed": [f"{registry_address}/team/*:*", "127.0.0.1:1/**", "docker.io/library/*:*"]}}
    for name in (SPACE, OTHER):
        runs = spaces(name, own=True)
        runs.policy("light", **{**light_spec, **allowed})
    return AgentImages(runs.client, SPACE)


@pytest.fixture(scope="module")
def user(space: AgentImages, kubectl: Kubectl, folder: Path) -> User:
    """A developer of SPACE, who has nothing to say in OTHER."""
    kubectl("-n", SPACE, "create", "serviceaccount", "dev")
    role = ("--clusterrole=stromboli-user", f"--serviceaccount={SPACE}:dev")
    kubectl("-n", SPACE, "create", "rolebinding", "dev", *role)
    token = kubectl("-n", SPACE, "create", "token", "dev", "--duration=1h").strip()
    config = json.loads(kubectl("config", "view", "--raw", "-o", "json"))
    for entry in config["users"]:
        entry["user"] = {"token": token}
    for context in config["contexts"]:
        context["context"]["namespace"] = SPACE
    path = folder / "dev.kubeconfig"
    path.write_text(json.dumps(config))
    return User(path, folder / "home")


def names(kubectl: Kubectl) -> list[str]:
    """The AgentImages of the namespace."""
    return kubectl("-n", SPACE, "get", "agentimages", "-o", "name").split()


def test_who_has_nothing_to_say_in_a_namespace_sees_nothing_of_it(user: User) -> None:
    for arguments in (["-n", OTHER], ["--all"], ["inspect", "python:3.12", "-n", OTHER], ["search", "x", "-n", OTHER]):
        done = user(*arguments)
        assert (done.returncode, done.stdout) == (exitcodes.NOT_ALLOWED, ""), done.stderr
        assert "is forbidden" in done.stderr
    done = user("pull", "python:3.12", "-n", OTHER)
    assert done.returncode == exitcodes.NOT_ALLOWED
    assert "forbidden" in done.stderr


def test_what_is_on_the_node_and_not_compatible(user: User, podman_env: dict[str, str], python_image: str) -> None:
    musl = build("musl", podman_env)
    listed = user("-o", "json")
    assert listed.returncode == 0, listed.stderr
    rows = {row["image"]: row for row in json.loads(listed.stdout)["images"]}
    assert (rows[python_image]["compatible"], rows[musl]["compatible"]) == (True, False)
    assert list(rows).index(python_image) < list(rows).index(musl)
    done = user("inspect", musl)
    assert done.returncode == exitcodes.NOT_COMPATIBLE
    assert f"is refused: {rows[musl]['message']}" in done.stdout


def test_a_pull_of_an_image_that_is_not_compatible(user: User, registry: FakeRegistry, kubectl: Kubectl) -> None:
    registry.publish("team/data", "1", size=1000)
    reference = f"{registry.address}/team/data:1"
    for _ in range(2):
        done = user("pull", reference)
        assert done.returncode == exitcodes.NOT_COMPATIBLE, done.stderr
        assert done.stdout == f"{reference} is on node test-node\n"
        assert "the Claude CLI cannot run in it: " in done.stderr
    assert len(names(kubectl)) == 1


def test_why_an_image_does_not_get_here(user: User, registry: FakeRegistry, kubectl: Kubectl) -> None:
    before = names(kubectl)
    codes = {
        "ghcr.io/other/app:1": exitcodes.NOT_ALLOWED,
        f"{registry.address}/team/none:1": exitcodes.NO_SUCH_IMAGE,
        "127.0.0.1:1/team/app:1": exitcodes.REGISTRY_AWAY,
    }
    assert {reference: user("pull", reference).returncode for reference in codes} == codes
    registry.refuse(403, "DENIED")
    try:
        assert user("pull", f"{registry.address}/team/closed:1").returncode == exitcodes.NO_ACCESS
    finally:
        registry._refusal = None
    assert names(kubectl) == before, "what was created is deleted again"


def test_an_interruption_ends_the_pull_within_a_second(
    user: User, registry: FakeRegistry, space: AgentImages, kubectl: Kubectl
) -> None:
    registry.publish("team/interrupted", "1", size=4 << 20)  # no other module of this Podman has an image of this name
    registry.stall()
    before = names(kubectl)
    process = user.start("pull", f"{registry.address}/team/interrupted:1")
    try:
        eventually(registry.stalled.is_set, "the pull has begun", lambda: process.poll())
        interrupted = time.monotonic()
        process.send_signal(signal.SIGINT)
        eventually(registry.left.is_set, "the pull has ended", lambda: process.poll(), within=5.0)
        took = time.monotonic() - interrupted
        _, said = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
        registry._stalls = False
    assert (process.returncode, took < 1.5) == (130, True), (took, said)
    assert said.splitlines()[-1] == "stromboli: interrupted"
    assert names(kubectl) == before
