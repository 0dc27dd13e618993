"""AgentImages as their users meet them: with the real operator, Podman and API server, and a real registry."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from lightkube import Client
from lightkube.types import PatchType

from stromboli.kube.kinds import AgentImageKind, AgentPolicy
from tests.support import registry
from tests.support.agentimages import AgentImages, ready_is, reasons
from tests.support.cluster import Kubectl
from tests.support.operator import OperatorProcess
from tests.support.podman import IsolatedPodman
from tests.support.registry import Registry
from tests.support.runs import Object, Runs, condition
from tests.support.waiting import eventually

LARGE = 48 * 1024 * 1024  # bytes that cannot be compressed, so that a pull takes a moment
MANY, REFERENCES = 60, 6
COLUMNS = ("NAME", "IMAGE", "READY", "COMPATIBLE", "RANK", "LIBC", "TOOLS", "SIZE", "AGE")
NewOperator = Callable[[], OperatorProcess]


@pytest.fixture(scope="module")
def served(registry_address: str) -> Iterator[Registry]:
    """A registry that the session's Podman knows."""
    with Registry(registry.program(), address=registry_address) as running:
        yield running


@pytest.fixture(scope="module")
def app(served: Registry, isolated_podman: IsolatedPodman, python_image: str) -> str:
    """An image in which the CLI can run; the node does not have it under this name."""
    return served.push(isolated_podman, python_image, "team/app:1")


@pytest.fixture(scope="module")
def space(spaces: Callable[..., Runs]) -> Iterator[AgentImages]:
    """A namespace whose policy allows everything."""
    runs = spaces("agentimages", light=True)
    made = AgentImages(runs.client, runs.namespace)
    yield made
    made.clear()


@pytest.fixture(scope="module")
def runs(space: AgentImages, kubectl: Kubectl) -> Runs:
    """The runs of that namespace."""
    return Runs(kubectl, space.client, space.namespace)


def imported(podman: IsolatedPodman, name: str, size: int = 8) -> str:
    """Import an image with one file of random bytes and nothing else. Returns its name."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("data")
        entry.size = size
        tar.addfile(entry, io.BytesIO(os.urandom(size)))
    podman.run("import", "--quiet", "-", name, stdin=archive.getvalue())
    return name


def published(served: Registry, podman: IsolatedPodman, name: str, size: int = 8) -> str:
    """Push such an image as `name` and remove it from the node. Returns its reference."""
    local = imported(podman, f"localhost/{name}", size)
    reference = served.push(podman, local, name)
    podman.run("rmi", local)
    return reference


def on_node(podman: IsolatedPodman, reference: str) -> str:
    """The id of the image of that name; empty if there is none."""
    try:
        return podman.run("image", "inspect", "--format", "{{.Id}}", reference)
    except RuntimeError:
        return ""


def test_an_image_is_pulled_inspected_and_shown(
    space: AgentImages, kubectl: Kubectl, served: Registry, isolated_podman: IsolatedPodman, app: str
) -> None:
    space.apply("app", app)
    before: list[Object] = []
    for obj in space.seen("app"):
        if ready_is("Present")(obj):
            break
        before.append(obj)
    assert all(reasons(each).get("Reconciling", ("True",))[0] == "True" for each in before)
    arguments = ("-n", space.namespace, "wait", "--for=condition=Ready", "agentimage/app", "--timeout=20s")
    assert "condition met" in kubectl(*arguments)
    assert reasons(obj) == {
        "Ready": ("True", "Present"),
        "Allowed": ("True", "Allowed"),
        "Compatible": ("True", "Compatible"),
    }
    assert condition(obj, "Ready")["message"] == f"{app} is on node test-node"
    [entry] = obj["status"]["nodes"]
    assert entry["id"] == on_node(isolated_podman, app)
    # The same image is on the node by another name and with another manifest; Podman gives both names all digests.
    digests = isolated_podman.run("image", "inspect", "--format", "{{json .RepoDigests}}", app)
    assert f"{app.rpartition(':')[0]}@{served.digest('team/app', '1')}" in json.loads(digests)
    assert f"{app.rpartition(':')[0]}@{entry['digest']}" in json.loads(digests)
    assert (entry["libc"]["family"], entry["platform"].split("/")[0]) == ("glibc", "linux")
    assert obj["status"]["rank"] == 3
    head, row = kubectl("-n", space.namespace, "get", "aimg", "app", "-o", "wide").splitlines()
    assert head.split() == [*COLUMNS, "DIGEST", "NODE"]
    assert row.split()[:5] == ["app", app, "True", "True", "3"]
    assert row.split()[-2:] == [entry["digest"], "test-node"]
    assert f"glibc {entry['libc']['version']}" in row


def test_while_it_is_pulled_its_progress_is_in_the_message_and_it_need_not_be_compatible(
    space: AgentImages, runs: Runs, served: Registry, isolated_podman: IsolatedPodman
) -> None:
    reference = published(served, isolated_podman, "team/large:1", LARGE)
    space.apply("large", reference)
    pulling = space.until("large", ready_is("Pulling"))
    assert reasons(pulling)["Reconciling"] == ("True", "Pulling")
    assert condition(pulling, "Ready")["message"].startswith(f"pulling {reference}: ")
    done = space.until("large", ready_is("Present"))
    assert "Reconciling" not in reasons(done)
    assert reasons(done)["Compatible"] == ("False", "ImageIncompatible")
    assert done["status"]["rank"] == 4
    refused = runs.run("large", prompt="hello", image=reference)
    assert condition(refused)["reason"] == "ImageIncompatible"
    assert condition(refused)["message"].startswith(condition(done, "Compatible")["message"])
    eventually(lambda: bool(space.events("large", "Present")), "the event", lambda: space.events("large", "Pulling"))


def test_policies_decide_and_a_changed_one_is_followed_at_once(
    spaces: Callable[..., Runs], light_spec: dict[str, Any], client: Client, isolated_podman: IsolatedPodman, app: str
) -> None:
    runs = spaces("agentimages-policy", own=True)
    strict = {**light_spec, "images": {"allowed": ["golang:*"]}}
    policy = runs.policy("images", **strict)
    mine = AgentImages(runs.client, runs.namespace)
    other = app.replace("team/app:1", "team/forbidden:1")
    mine.apply("app", other)
    refused = mine.until("app", ready_is("ImageNotAllowed"))
    assert reasons(refused) == {
        "Ready": ("False", "ImageNotAllowed"),
        "Allowed": ("False", "ImageNotAllowed"),
        "Stalled": ("True", "ImageNotAllowed"),
    }
    assert on_node(isolated_podman, other) == ""
    run = runs.run("same", prompt="hello", image=other)
    assert condition(run)["message"].startswith(condition(refused, "Ready")["message"])
    _allow(client, policy, "**")
    failed = mine.until("app", ready_is("ImagePullFailed"))  # it is allowed, and the registry does not have it
    assert reasons(failed)["Allowed"] == ("True", "Allowed")
    assert "Stalled" in reasons(failed)
    _allow(client, policy, "golang:*")
    mine.until("app", ready_is("ImageNotAllowed"))
    mine.clear()


def _allow(client: Client, policy: str, pattern: str) -> None:
    body = {"spec": {"images": {"allowed": [pattern]}}}
    client.patch(AgentPolicy, policy, body, patch_type=PatchType.MERGE)


def test_a_tag_that_has_moved_is_pulled_again_by_always(
    space: AgentImages, served: Registry, isolated_podman: IsolatedPodman
) -> None:
    reference = published(served, isolated_podman, "team/moves:1")
    old = space.ready("moves", reference)["status"]["nodes"][0]["digest"]
    newer = served.push(isolated_podman, imported(isolated_podman, "localhost/newer:1"), "team/moves:1")
    assert newer == reference
    space.change("moves", refresh="1h")
    same = space.until("moves", ready_is("Present"))
    assert same["status"]["nodes"][0]["digest"] == old, "IfNotPresent does not follow it"
    space.change("moves", pullPolicy="Always")
    new = space.until("moves", lambda obj: ready_is("Present")(obj) and obj["status"]["nodes"][0]["digest"] != old)
    digest = new["status"]["nodes"][0]["digest"]
    eventually(lambda: bool(space.events("moves", "DigestChanged")), "the event", lambda: new["status"])
    [message] = space.events("moves", "DigestChanged")
    assert old in message
    assert digest in message


@pytest.mark.parametrize("keeps", ["nobody", "another AgentImage", "a session", "Retain"])
def test_an_image_goes_with_its_object_unless_something_uses_it(
    space: AgentImages, runs: Runs, served: Registry, isolated_podman: IsolatedPodman, app: str, keeps: str
) -> None:
    name = keeps.lower().replace(" ", "-")
    podman = isolated_podman
    if keeps == "a session":
        container = podman.run("create", app)
        podman.run("commit", "--quiet", container, "localhost/of-a-session:1")  # an image that nothing else has
        podman.run("rm", container)
        reference = served.push(podman, "localhost/of-a-session:1", "team/of-a-session:1")
        podman.run("rmi", "localhost/of-a-session:1")
    else:
        reference = published(served, podman, f"team/{name}:1")
    if keeps == "another AgentImage":
        space.ready("keeps-it", reference)
    space.ready(name, reference, deletionPolicy="Retain" if keeps == "Retain" else "Delete")
    if keeps == "a session":
        done = runs.run("uses", prompt="ECHO{used}", image=reference, session={"name": "uses"})
        assert condition(done)["reason"] == "Completed", condition(done)["message"]
    space.delete(name)
    if keeps == "nobody":
        eventually(lambda: on_node(podman, reference) == "", "the image is removed", lambda: podman.run("images"))
        return
    # Objects are processed in the order of their events, so the image of a later one goes after the decision.
    last = published(served, podman, f"team/after-{name}:1")
    space.ready("after", last, deletionPolicy="Delete")
    space.delete("after")
    eventually(lambda: on_node(podman, last) == "", "the later one's image is removed", lambda: podman.run("images"))
    assert on_node(podman, reference) != ""


def test_a_registry_that_is_away_is_waited_for(
    space: AgentImages, served: Registry, isolated_podman: IsolatedPodman
) -> None:
    reference = published(served, isolated_podman, "team/later:1")
    served.stop()
    try:
        space.apply("later", reference)
        away = space.until("later", ready_is("RegistryUnavailable"))
    finally:
        served.start()
    assert reasons(away)["Reconciling"] == ("True", "RegistryUnavailable")
    assert served.address in condition(away, "Ready")["message"]
    space.until("later", ready_is("Present"))


def test_an_image_that_is_removed_after_it_was_inspected_is_pulled_for_the_run(
    space: AgentImages, runs: Runs, served: Registry, isolated_podman: IsolatedPodman, app: str
) -> None:
    reference = served.push(isolated_podman, app, "team/removed:1")
    space.ready("removed", reference)
    isolated_podman.run("untag", reference, reference)  # without a name, all of the image's are removed
    done = runs.run("removed", prompt="ECHO{here}", image=reference)
    assert condition(done)["reason"] == "Completed", condition(done)["message"]
    assert on_node(isolated_podman, reference) != ""


def test_many_of_a_few_images_are_true_and_nothing_is_written_at_rest(
    space: AgentImages, served: Registry, isolated_podman: IsolatedPodman, client: Client
) -> None:
    references = [published(served, isolated_podman, f"team/many-{n}:1") for n in range(REFERENCES)]
    for n in range(MANY):
        space.apply(f"many-{n}", references[n % REFERENCES])
    for n in range(MANY):
        space.until(f"many-{n}", ready_is("Present"))
    before = _versions(client, space)
    policy = f"{space.namespace}-light"
    body = {"spec": {"images": {"allowed": ["**", "nobody/asks:*"]}}}
    client.patch(AgentPolicy, policy, body, patch_type=PatchType.MERGE)  # wakes all of them
    space.ready("last", references[0])
    now = _versions(client, space)
    assert [(old, now[name]) for name, old in before.items() if now[name] != old] == []


def _versions(client: Client, space: AgentImages) -> dict[str, tuple[str, Object]]:
    """Version and status of each; the status shows what was written."""
    found = map(dict, client.list(AgentImageKind, namespace=space.namespace))
    return {obj["metadata"]["name"]: (obj["metadata"]["resourceVersion"], obj["status"]) for obj in found}


def test_one_that_is_not_true_any_more_says_so_to_kubectl(kubectl: Kubectl, space: AgentImages) -> None:
    space.apply("nowhere", "localhost/team/nowhere:1")
    stalled = space.until("nowhere", ready_is("ImagePullFailed"))
    assert reasons(stalled)["Stalled"] == ("True", "ImagePullFailed")
    done = kubectl("-n", space.namespace, "wait", "--for=condition=Stalled", "aimg/nowhere", "--timeout=5s")
    assert "condition met" in done
    described = kubectl("-n", space.namespace, "describe", "aimg", "nowhere")
    assert "ImagePullFailed" in described
    assert json.dumps(condition(stalled, "Ready")["message"])[1:40] in described
