"""A registry that asks for a login, and two namespaces: with the real operator, API server, Podman and registry."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from stromboli.registry_credentials import Login
from tests.support import registry
from tests.support.agentimages import AgentImages, ready_is
from tests.support.cluster import Kubectl
from tests.support.operator import OperatorProcess
from tests.support.podman import IsolatedPodman
from tests.support.registry import LOGIN, Registry
from tests.support.runs import Object, Runs, condition

SECRET = "registry"
NAMED = [{"name": SECRET}]
WRONG = Login(LOGIN.user, "a guess")


@dataclass
class Bed:
    """Two namespaces, and an image that the node does not have; only the first has a Secret that opens its registry."""

    ours: Runs
    theirs: Runs
    served: Registry
    image: str
    kubectl: Kubectl

    def secret(self, runs: Runs, name: str, login: Login) -> None:
        """As the documentation says to create one."""
        self.kubectl(
            *("-n", runs.namespace, "create", "secret", "docker-registry", name),
            *(f"--docker-server={self.served.address}", f"--docker-username={login.user}"),
            f"--docker-password={login.password}",
        )


@pytest.fixture(scope="module")
def bed(
    spaces: Callable[..., Runs],
    kubectl: Kubectl,
    registry_address: str,
    isolated_podman: IsolatedPodman,
    python_image: str,
) -> Iterator[Bed]:
    with Registry(registry.program(), LOGIN, address=registry_address) as served:
        image = served.push(isolated_podman, python_image, "team/private:1")
        made = Bed(spaces("private-ours", light=True), spaces("private-theirs", light=True), served, image, kubectl)
        made.secret(made.ours, SECRET, LOGIN)
        done = made.ours.run("first", image=image, prompt="hello", imagePullSecrets=NAMED)
        assert ended(done) == "Completed"
        yield made
        isolated_podman.run("rmi", "--force", image)


def ended(run: Object) -> str:
    return str(condition(run)["reason"])


def message(run: Object) -> str:
    return str(condition(run)["message"])


def test_only_who_can_open_the_registry_gets_the_image(bed: Bed) -> None:
    image = bed.ours.get("first")["status"]["image"]
    by_digest = f"{bed.image.removesuffix(':1')}@{image['digest']}"
    bed.secret(bed.theirs, "wrong", WRONG)
    bed.secret(bed.theirs, SECRET, LOGIN)
    runs: dict[str, dict[str, Any]] = {
        "no-secret": {"image": bed.image},
        "no-such-secret": {"image": bed.image, "imagePullSecrets": [{"name": "absent"}]},
        "wrong": {"image": bed.image, "imagePullSecrets": [{"name": "wrong"}]},
        "by-digest": {"image": by_digest},
        "in-a-session": {"image": bed.image, "session": {"name": "story"}},
    }
    refused = bed.theirs.run_all({name: {"prompt": "hello", **spec} for name, spec in runs.items()})
    assert {name: ended(run) for name, run in refused.items()} == dict.fromkeys(runs, "ImagePullFailed")
    assert "; the Secret absent does not exist; " in message(refused["no-such-secret"])
    assert f"; {bed.served.address} refuses the credentials of the Secret wrong; " in message(refused["wrong"])
    opened = bed.theirs.run("own-secret", prompt="hello", image=by_digest, imagePullSecrets=NAMED)
    assert (ended(opened), opened["status"]["image"]["id"]) == ("Completed", image["id"])


def test_an_agentimage_is_no_way_round(bed: Bed) -> None:
    theirs = AgentImages(bed.theirs.client, bed.theirs.namespace)
    theirs.apply("app", bed.image)
    obj = theirs.until("app", ready_is("ImagePullFailed"))
    assert all("id" not in node for node in obj["status"]["nodes"])
    absent = f"{bed.served.address}/team/absent:1"
    said = {}
    for name, image in (("here", bed.image), ("absent", absent)):
        theirs.apply(name, image, pullPolicy="Never")
        said[name] = condition(theirs.until(name, ready_is("ImagePullFailed")), "Ready")["message"]
    assert said["here"] == said["absent"].replace(absent, bed.image), (
        "whoever may not use it cannot tell that it is here"
    )
    theirs.clear()
    ours = AgentImages(bed.ours.client, bed.ours.namespace)
    assert ours.ready("app", bed.image, imagePullSecrets=NAMED)["status"]["nodes"][0]["id"]
    ours.clear()


def test_a_session_goes_on_without_its_registry(bed: Bed) -> None:
    bed.ours.run("begins", image=bed.image, prompt="hello", session={"name": "story"}, imagePullSecrets=NAMED)
    bed.served.stop()
    try:
        goes_on = bed.ours.run("goes-on", prompt="hello", session={"name": "story"})
        forked = bed.ours.run("forked", prompt="hello", session={"name": "branch", "fork": "story"})
    finally:
        bed.served.start()
    assert (ended(goes_on), ended(forked)) == ("Completed", "Completed")


def test_the_login_is_nowhere(bed: Bed, steady_operator: OperatorProcess) -> None:
    said = bed.kubectl("get", "events,agentruns,agentsessions,agentimages", "-A", "-o", "json")
    said += steady_operator.log.read_text(errors="replace")
    sent = base64.b64encode(f"{LOGIN.user}:{LOGIN.password}".encode()).decode()
    kept = [path for path in (steady_operator.home / "access").rglob("*") if path.is_file()]
    assert kept
    for secret in (LOGIN.password, WRONG.password, sent):
        assert secret not in said
        assert [path for path in kept if secret.encode() in path.read_bytes()] == []
