"""AgentImages from object to status: admitted, pulled, inspected, kept true, and removed if the object says so."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from stromboli.agentimages import AgentImages
from stromboli.errors import PodmanError, RegistryError
from stromboli.node import pulls as pulls_of_the_node
from stromboli.node.access import Access
from stromboli.registry_problem import RegistryProblem
from tests.support.fake_cluster import Object
from tests.unit.reconcile.conftest import IMAGE, SPACE, Node, Process, Roots, policy
from tests.unit.reconcile.faults import Killer, Trouble

PULL = "/images/create"
PYTHON = {"image": "python:3.12"}


def status(node: Node, name: str = "python") -> Any:
    return node.cluster.all_images[SPACE, name].get("status") or {}


def conditions(node: Node, name: str = "python") -> dict[str, tuple[str, str]]:
    """Status and reason of each condition."""
    return {c["type"]: (c["status"], c["reason"]) for c in status(node, name).get("conditions", [])}


def ready(node: Node, name: str = "python") -> str:
    """The reason of `Ready`."""
    return conditions(node, name).get("Ready", ("", ""))[1]


def message(node: Node, type_: str = "Ready", name: str = "python") -> str:
    return str(next(c["message"] for c in status(node, name)["conditions"] if c["type"] == type_))


def events(node: Node, reason: str) -> list[Object]:
    return [event for event in node.cluster.events.values() if event["reason"] == reason]


async def until_ready(node: Node, reason: str = "Present", name: str = "python") -> None:
    await node.until(lambda: ready(node, name) == reason, f"AgentImage {name} is {reason}: {status(node, name)}")


async def swept(process: Process) -> None:
    assert await process.sweep.attempt()


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """What each pass that has ended returned."""
    ended: list[float | None] = []
    original = AgentImages.reconcile

    async def reconcile(images: AgentImages, uid: str) -> float | None:
        again = await original(images, uid)
        ended.append(again)
        return again

    monkeypatch.setattr(AgentImages, "reconcile", reconcile)
    return ended


async def passed(node: Node, passes: list[float | None]) -> None:
    """Until another pass has begun and ended."""
    before = len(passes)
    await node.until(lambda: len(passes) >= before + 2, "another pass")


async def gone(node: Node, passes: list[float | None]) -> None:
    """Delete the object, and wait until the operator is done with that."""
    before = len(passes)
    node.cluster.delete_image(SPACE, "python")
    await node.until(lambda: None in passes[before:], "the pass after the deletion")


def writes(node: Node) -> list[str]:
    return [write for write in node.cluster.writes if write.startswith("image ")]


async def test_an_image_that_is_here_is_inspected_and_described(node: Node) -> None:
    node.fake.images[0].config |= {"Labels": {"ai.stromboli.description": "for\nteam a"}}
    node.cluster.add_image(SPACE, "python", PYTHON)
    async with node.process():
        await until_ready(node)
    assert conditions(node) == {
        "Ready": ("True", "Present"),
        "Allowed": ("True", "Allowed"),
        "Compatible": ("True", "Compatible"),
    }
    found = status(node)
    [entry] = found["nodes"]
    image = node.fake.images[0]
    assert (found["observedGeneration"], found["reference"], found["rank"]) == (1, IMAGE, 3)
    assert (entry["name"], entry["id"], entry["digest"]) == ("node-a", image.id, f"sha256:{image.id}")
    assert (entry["platform"], entry["libc"]["family"], entry["user"]) == ("linux/amd64", "glibc", "0:0")
    assert (entry["shell"], entry["description"], entry["size"]) == ("/usr/bin/dash", "for team a", 1)
    assert found["summary"] == {"libc": f"glibc {entry['libc']['version']}", "tools": "", "size": "1 B"}


async def test_its_operating_system_and_tools_are_told_and_a_claimed_tool_that_is_not_there(
    node: Node, roots: Roots, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    shutil.copytree(roots.image, root, symlinks=True)
    (root / "etc/os-release").write_text('ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
    (root / "usr/local/go/bin").mkdir(parents=True)
    (root / "usr/local/go/VERSION").write_text("go1.22.3\n")
    shutil.copy(root / "usr/bin/dash", root / "usr/local/go/bin/go")
    env = ["PATH=/usr/local/go/bin:/usr/bin:/bin", "NODE_VERSION=20.1.0"]
    labels = {"ai.stromboli.tools": "golang,node:20, teapot"}
    node.fake.add_image("quay.io/team/go:1", root=root, Env=env, Labels=labels)
    node.cluster.add_image(SPACE, "python", {"image": "quay.io/team/go:1"})
    async with node.process():
        await until_ready(node)
        await node.until(lambda: bool(events(node, "LabelUntrue")), "the event about the label")
    [entry] = status(node)["nodes"]
    assert entry["os"] == {"id": "debian", "version": "12", "name": "Debian GNU/Linux 12 (bookworm)"}
    assert entry["tools"] == [{"name": "go", "version": "1.22.3"}]
    assert status(node)["summary"]["tools"] == "go 1.22.3"
    [told] = events(node, "LabelUntrue")
    assert told["message"] == "the label ai.stromboli.tools claims node, which was not found in the image"


async def test_an_image_that_is_not_here_is_pulled_and_that_is_announced(node: Node, roots: Roots) -> None:
    node.fake.registry["quay.io/team/app:1"] = node.fake.image("quay.io/team/app:1", root=roots.image)
    node.cluster.add_image(SPACE, "python", {"image": "quay.io/team/app:1"})
    async with node.process():
        await until_ready(node)
        await node.until(lambda: bool(events(node, "Present")), "the event about it")
    assert message(node) == "quay.io/team/app:1 is on node node-a"
    assert [e["type"] for e in events(node, "Pulling")] == ["Normal"]


async def test_while_it_is_pulled_it_is_in_progress_for_kstatus(node: Node) -> None:
    node.cluster.add_image(SPACE, "python", {"image": "quay.io/slow:1"})
    async with node.process(Killer(held=PULL)):
        await until_ready(node, "Pulling")
        assert conditions(node)["Reconciling"] == ("True", "Pulling")
        assert "Stalled" not in conditions(node)
        assert message(node).startswith("pulling quay.io/slow:1: ")


async def test_one_that_no_policy_allows_is_stalled_and_never_asked_for(node: Node) -> None:
    node.cluster.all_policies[:] = [policy(images={"allowed": ["golang:*"]})]
    node.cluster.add_image(SPACE, "python", PYTHON)
    async with node.process():
        await until_ready(node, "ImageNotAllowed")
    assert conditions(node) == {
        "Ready": ("False", "ImageNotAllowed"),
        "Allowed": ("False", "ImageNotAllowed"),
        "Stalled": ("True", "ImageNotAllowed"),
    }
    assert message(node).startswith(f"spec.image: the image {IMAGE} is not allowed by AgentPolicy tests")
    assert status(node)["nodes"] == [{"name": "node-a"}]
    assert not any("/images/" in call for call in node.fake.calls)


async def test_a_policy_that_changes_is_followed_at_once(node: Node) -> None:
    node.cluster.add_image(SPACE, "python", PYTHON)
    async with node.process() as process:
        await until_ready(node)
        node.cluster.all_policies[:] = [policy(images={"allowed": ["golang:*"]})]
        process.wakers.all()
        await until_ready(node, "ImageNotAllowed")
        assert "rank" not in status(node)
        node.cluster.all_policies[:] = [policy()]
        process.wakers.all()
        await until_ready(node)
    assert conditions(node)["Allowed"] == ("True", "Allowed")
    assert "Stalled" not in conditions(node)


async def test_an_incompatible_image_is_ready_and_says_why_no_run_would_start(node: Node, tmp_path: Path) -> None:
    (tmp_path / "root/lib").mkdir(parents=True)
    node.fake.add_image("quay.io/team/static:1", root=tmp_path / "root", Labels={"ai.stromboli.compatible": "true"})
    node.cluster.add_image(SPACE, "python", {"image": "quay.io/team/static:1"})
    node.run("run", image="quay.io/team/static:1")
    async with node.process():
        await until_ready(node)
        await node.finished("run")
        await node.until(lambda: bool(events(node, "LabelUntrue")), "the event about the label")
    assert conditions(node)["Compatible"] == ("False", "ImageIncompatible")
    assert status(node)["rank"] == 4
    assert node.message("run").startswith(message(node, "Compatible"))
    [told] = events(node, "LabelUntrue")
    assert told["type"] == "Warning"
    assert told["message"].startswith("the label ai.stromboli.compatible=true is not so: no C library")


@pytest.mark.parametrize(
    ("labels", "own_cli", "rank"),
    [({"ai.stromboli.compatible": "true"}, True, 1), ({}, True, 2), ({"ai.stromboli.compatible": "yes"}, False, 3)],
)
async def test_the_rank_of_compatible_images(
    node: Node, roots: Roots, tmp_path: Path, labels: dict[str, str], own_cli: bool, rank: int
) -> None:
    root = tmp_path / "root"
    shutil.copytree(roots.image, root, symlinks=True)
    if own_cli:
        (root / "usr/bin/claude").write_text("#!/bin/sh\n")
        (root / "usr/bin/claude").chmod(0o755)
    node.fake.add_image("quay.io/team/own:1", root=root, Labels=labels)
    node.cluster.add_image(SPACE, "python", {"image": "quay.io/team/own:1"})
    async with node.process():
        await until_ready(node)
    assert status(node)["rank"] == rank


async def test_nothing_is_written_while_nothing_changes(node: Node, passes: list[float | None]) -> None:
    node.cluster.add_image(SPACE, "python", PYTHON)
    async with node.process() as process:
        await until_ready(node)
        await node.until(lambda: bool(events(node, "Present")), "the event about it")
        before = list(node.cluster.writes)
        for _ in range(3):
            await swept(process)
        process.wakers.all()
        await passed(node, passes)
    assert node.cluster.writes == before
    async with node.process() as again:
        await swept(again)
        await passed(node, passes)
    assert node.cluster.writes == before


async def test_an_image_that_is_gone_from_the_node_is_pulled_again(node: Node) -> None:
    node.cluster.add_image(SPACE, "python", PYTHON)
    async with node.process() as process:
        await until_ready(node)
        image = node.fake.images.pop(0)
        node.fake.registry[IMAGE] = image
        await swept(process)
        await node.until(lambda: image in node.fake.images and ready(node) == "Present", "it is here again")


async def test_a_tag_that_names_another_image_is_noticed_with_both_digests(node: Node, roots: Roots) -> None:
    node.cluster.add_image(SPACE, "python", PYTHON)
    old = node.fake.images[0]
    async with node.process() as process:
        await until_ready(node)
        old.tags.clear()
        new = node.fake.add_image(IMAGE, root=roots.image)
        await swept(process)
        await node.until(lambda: status(node)["nodes"][0].get("id") == new.id, "the status has the new image")
        await node.until(lambda: bool(events(node, "DigestChanged")), "the event about it")
    [told] = events(node, "DigestChanged")
    assert f"sha256:{old.id}" in told["message"]
    assert f"sha256:{new.id}" in told["message"]


async def test_always_pulls_once_for_each_change_of_the_spec(node: Node, passes: list[float | None]) -> None:
    node.fake.registry[IMAGE] = node.fake.images[0]
    node.cluster.add_image(SPACE, "python", PYTHON)
    async with node.process() as process:
        await until_ready(node)
        assert pulls(node) == 0
        node.cluster.change_image(SPACE, "python", pullPolicy="Always")
        await node.until(lambda: pulls(node) == 1 and status(node)["observedGeneration"] == 2, "one pull")
        await swept(process)
        process.wakers.all()
        await passed(node, passes)
        assert pulls(node) == 1


async def test_always_pulls_at_each_refresh(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.fake.registry[IMAGE] = node.fake.images[0]
    slot = [7]
    monkeypatch.setattr("stromboli.plan.holding.refreshes_due", lambda *_: slot[0])
    node.cluster.add_image(SPACE, "python", {**PYTHON, "pullPolicy": "Always", "refresh": "1m"})
    async with node.process():
        await node.until(lambda: pulls(node) == 1 and ready(node) == "Present", "the first pull")
        slot[0] += 1
        await node.until(lambda: pulls(node) == 2, "the pull of the refresh")


async def test_while_always_pulls_again_the_status_has_what_is_here_and_then_tells_of_the_change(
    node: Node, roots: Roots
) -> None:
    node.cluster.add_image(SPACE, "python", PYTHON)
    old = node.fake.images[0]
    async with node.process(killer := Killer(held=PULL)):
        await until_ready(node)
        found = status(node)
        node.cluster.change_image(SPACE, "python", pullPolicy="Always")
        await until_ready(node, "Pulling")
        assert {key: status(node)[key] for key in ("nodes", "rank", "summary")} == {
            key: found[key] for key in ("nodes", "rank", "summary")
        }
        new = node.fake.image(IMAGE, root=roots.image)
        node.fake.registry[IMAGE] = new
        killer.go_on.set()
        await node.until(lambda: status(node)["nodes"][0].get("id") == new.id, "the status has the new image")
        await node.until(lambda: bool(events(node, "DigestChanged")), "the event about it")
    [told] = events(node, "DigestChanged")
    assert told["message"] == f"{IMAGE} is now sha256:{new.id} on node node-a; it was sha256:{old.id}"


async def test_a_change_is_told_although_a_pass_sees_it_before_the_pull_has_ended(
    node: Node, roots: Roots, passes: list[float | None]
) -> None:
    """Podman moves the name, and then answers."""
    node.cluster.add_image(SPACE, "python", PYTHON)
    old = node.fake.images[0]
    async with node.process(killer := Killer(held=PULL)) as process:
        await until_ready(node)
        node.cluster.change_image(SPACE, "python", pullPolicy="Always")
        await until_ready(node, "Pulling")
        old.tags.clear()
        new = node.fake.registry[IMAGE] = node.fake.add_image(IMAGE, root=roots.image)
        process.wakers.all()
        await passed(node, passes)
        assert ready(node) == "Pulling"
        killer.go_on.set()
        await until_ready(node)
        await node.until(lambda: bool(events(node, "DigestChanged")), "the event about it")
    assert status(node)["nodes"][0]["id"] == new.id


async def test_while_a_missing_image_is_pulled_again_the_status_does_not_have_it(node: Node) -> None:
    node.cluster.add_image(SPACE, "python", PYTHON)
    async with node.process(Killer(held=PULL)) as process:
        await until_ready(node)
        node.fake.images.pop(0)
        await swept(process)
        await until_ready(node, "Pulling")
    assert status(node)["nodes"] == [{"name": "node-a"}]
    assert "rank" not in status(node)


async def test_an_image_with_several_digests_keeps_the_one_that_was_told(
    node: Node, passes: list[float | None]
) -> None:
    image = node.fake.images[0]
    node.cluster.add_image(SPACE, "python", PYTHON)
    async with node.process() as process:
        await until_ready(node)
        before = writes(node)
        image.digests.append(f"sha256:{'f' * 64}")
        process.wakers.all()
        await passed(node, passes)
    assert writes(node) == before


@pytest.mark.parametrize("moved", [True, False, None])
async def test_a_tag_that_moves_in_the_registry_is_told_and_not_followed(
    node: Node, monkeypatch: pytest.MonkeyPatch, moved: bool | None
) -> None:
    slot, asked = [7], []
    new = f"sha256:{'f' * 64}" if moved else f"sha256:{node.fake.images[0].id}"

    async def digest(*_: object) -> str:
        asked.append(slot[0])
        if moved is None:
            raise RegistryError("docker.io does not answer", RegistryProblem.UNAVAILABLE)
        return new

    monkeypatch.setattr("stromboli.plan.holding.refreshes_due", lambda *_: slot[0])
    monkeypatch.setattr("stromboli.registries.Registries.digest", digest)
    node.cluster.add_image(SPACE, "python", PYTHON)
    async with node.process():
        await until_ready(node)
        assert not asked
        slot[0] += 1
        await node.until(lambda: asked == [8], "the registry is asked")
        slot[0] += 1
        await node.until(lambda: asked == [8, 9], "it is asked again at the next refresh")
    told = events(node, "DigestChanged")
    assert len(told) == (1 if moved else 0)
    if moved:
        assert new in told[0]["message"]
        assert f"node-a has sha256:{node.fake.images[0].id}; to follow the tag, set" in told[0]["message"]
    assert pulls(node) == 0
    assert ready(node) == "Present"


def pulls(node: Node) -> int:
    return sum(PULL in call for call in node.fake.calls)


@pytest.mark.parametrize("by", ["the object", "a policy"])
async def test_never_means_that_nothing_is_pulled(node: Node, by: str) -> None:
    spec = {"image": "quay.io/team/app:1"}
    if by == "the object":
        spec["pullPolicy"] = "Never"
    else:
        node.cluster.all_policies[:] = [policy(images={"allowed": ["**"], "pullPolicy": "Never"})]
    node.cluster.add_image(SPACE, "python", spec)
    async with node.process():
        await until_ready(node, "ImagePullFailed")
    assert "its pull policy is Never" in message(node)
    assert pulls(node) == 0


async def test_what_the_registry_refuses_is_stalled_and_what_it_cannot_say_yet_is_not(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulls_of_the_node, "FIRST_DELAY", 60.0)
    node.fake.registry["quay.io/team/away:1"] = "pinging container registry quay.io: connection refused"
    node.cluster.add_image(SPACE, "none", {"image": "quay.io/team/none:1"})
    node.cluster.add_image(SPACE, "away", {"image": "quay.io/team/away:1"})
    async with node.process():
        await until_ready(node, "ImagePullFailed", "none")
        await until_ready(node, "RegistryUnavailable", "away")
    assert conditions(node, "none")["Stalled"] == ("True", "ImagePullFailed")
    assert conditions(node, "away")["Reconciling"] == ("True", "RegistryUnavailable")
    problems = [status(node, name)["nodes"][0]["problem"] for name in ("none", "away")]
    assert problems == ["not found", "registry unavailable"]
    assert [event["type"] for event in events(node, "ImagePullFailed")] == ["Warning"]


async def test_a_wrong_spec_says_which_field(node: Node) -> None:
    node.cluster.add_image(SPACE, "python", {"image": "docker://python"})
    async with node.process():
        await until_ready(node, "InvalidSpec")
    assert conditions(node)["Stalled"] == ("True", "InvalidSpec")
    assert message(node).startswith("spec.image: ")


@pytest.mark.parametrize("left", ["Retain", "Delete", None])
async def test_the_image_goes_with_its_object_only_if_that_says_so(
    node: Node, passes: list[float | None], left: str | None
) -> None:
    image = node.fake.images[0]
    node.cluster.add_image(SPACE, "python", {**PYTHON, **({"deletionPolicy": left} if left else {})})
    async with node.process():
        await until_ready(node)
        await gone(node, passes)
    assert (image not in node.fake.images) is (left == "Delete")


async def test_the_image_goes_although_nobody_was_there_when_its_object_went(node: Node) -> None:
    image = node.fake.images[0]
    node.cluster.add_image(SPACE, "python", {**PYTHON, "deletionPolicy": "Delete"})
    async with node.process():
        await until_ready(node)
    node.cluster.delete_image(SPACE, "python")
    async with node.process() as process:
        await swept(process)
        await node.until(lambda: image not in node.fake.images, "it is removed")


@pytest.mark.parametrize("user", ["another AgentImage", "a run that waits", "a run that names none", "a session"])
async def test_an_image_that_something_else_uses_stays(node: Node, passes: list[float | None], user: str) -> None:
    image = node.fake.images[0]
    node.cluster.add_image(SPACE, "python", {**PYTHON, "deletionPolicy": "Delete"})
    async with node.process() as process:
        if user == "another AgentImage":
            node.cluster.add_image("other", "mine", {"image": IMAGE})
        elif user == "a session":
            node.run("first", session={"name": "s"})
            await node.finished("first")
        else:
            node.cluster.all_policies[:] = [policy(defaults={"image": "python:3.12"})]
            named = {"image": None} if user == "a run that names none" else {}
            node.run("waits", promptFrom={"configMapKeyRef": {"name": "none", "key": "none"}}, prompt=None, **named)
            await node.reason("WaitingForReference", "waits")
        await until_ready(node)
        await gone(node, passes)
        await swept(process)
    assert image in node.fake.images


async def test_the_default_image_of_runs_stays(node: Node, passes: list[float | None]) -> None:
    """Whoever may create an AgentImage must not take it from all others: an image of localhost cannot be pulled."""
    image = node.fake.images[0]
    node.cluster.all_policies[:] = [policy(defaults={"image": "python:3.12"})]
    node.cluster.add_image(SPACE, "python", {**PYTHON, "deletionPolicy": "Delete"})
    async with node.process() as process:
        await until_ready(node)
        await gone(node, passes)
        await swept(process)
    assert image in node.fake.images


async def test_an_object_that_is_deleted_while_its_image_is_pulled_ends_the_pull(node: Node) -> None:
    node.cluster.add_image(SPACE, "python", {"image": "quay.io/slow:1"})
    async with node.process(killer := Killer(held=PULL)):
        await until_ready(node, "Pulling")
        node.cluster.delete_image(SPACE, "python")
        await node.until(lambda: len(killer.given_up) == 1, "the pull is cancelled")


async def test_another_nodes_entry_is_kept_and_ready_waits_for_it(node: Node) -> None:
    node.cluster.add_image(SPACE, "python", PYTHON)
    stored = node.cluster.all_images[SPACE, "python"]
    stored["status"] = {"nodes": [{"name": "node-b"}], "observedGeneration": 1}
    async with node.process() as process:
        await node.until(lambda: len(status(node).get("nodes", [])) == 2, "both nodes have an entry")
        assert [n["name"] for n in status(node)["nodes"]] == ["node-a", "node-b"]
        assert ready(node) == ""
        stored = node.cluster.all_images[SPACE, "python"]
        stored["status"]["nodes"][1]["id"] = "f" * 64
        process.wakers.all()
        await until_ready(node)


async def test_a_hundred_objects_of_one_image_inspect_it_once(node: Node) -> None:
    digest = f"python@sha256:{node.fake.images[0].id}"  # which is never refreshed, so that each has one pass
    for number in range(100):
        node.cluster.add_image(SPACE, f"image-{number}", {"image": digest})
    shutil.rmtree(node.settings.home / "cache", ignore_errors=True)
    async with node.process():
        await node.until(
            lambda: all(ready(node, f"image-{n}") == "Present" for n in range(100)), "all 100 are on the node"
        )
    readers = [c for c in node.fake.calls if c.startswith("POST") and c.endswith("/containers/create")]
    assert len(readers) <= 3, "two for the image (facts and contents), and one that holds the CLI"
    assert len(writes(node)) == 100


async def test_an_image_that_is_here_stays_ready_while_it_is_pulled_anew(
    node: Node, roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = [7]
    monkeypatch.setattr("stromboli.plan.holding.refreshes_due", lambda *_: slot[0])
    old = node.fake.images[0]
    node.cluster.add_image(SPACE, "python", {**PYTHON, "pullPolicy": "Always"})
    stored = node.cluster.all_images[SPACE, "python"]
    stored["status"] = {"nodes": [{"name": "node-a"}], "observedGeneration": 1}
    async with node.process(killer := Killer(held=PULL)):
        await until_ready(node)
        slot[0] += 1
        await node.until(lambda: any(PULL in call for call in killer.calls), "the pull of the refresh")
        await node.until(lambda: bool(status(node)["nodes"][0].get("id")), "it is described")
        written = len(writes(node))
        old.tags.clear()
        new = node.fake.registry[IMAGE] = node.fake.add_image(IMAGE, root=roots.image)
        killer.go_on.set()
        await node.until(lambda: status(node)["nodes"][0].get("id") == new.id, "the status has the new image")
        await node.until(lambda: bool(events(node, "DigestChanged")), "the event about it")
    assert writes(node)[written:] == ["image space/python Present"]
    assert not events(node, "Pulling")


async def test_a_refresh_that_the_registry_does_not_answer_is_tried_again_and_the_image_stays_ready(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = [7]
    monkeypatch.setattr("stromboli.plan.holding.refreshes_due", lambda *_: slot[0])
    monkeypatch.setattr(pulls_of_the_node, "FIRST_DELAY", 0.0)
    node.fake.registry[IMAGE] = "pinging container registry docker.io: connection refused"
    node.cluster.add_image(SPACE, "python", {**PYTHON, "pullPolicy": "Always"})
    stored = node.cluster.all_images[SPACE, "python"]
    stored["status"] = {"nodes": [{"name": "node-a"}], "observedGeneration": 1}
    async with node.process():
        await until_ready(node)
        slot[0] += 1
        await node.until(lambda: pulls(node) >= 3, "it is tried again")
        node.fake.registry[IMAGE] = node.fake.images[0]
        made = len(node.fake.images)
        await node.until(lambda: len(node.fake.images) > made, "it is pulled")
    assert set(writes(node)) == {"image space/python Present"}


@pytest.mark.parametrize("answer", ["not allowed", "no registry"])
async def test_always_pulls_once_what_kept_it_from_that_is_over(
    node: Node, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr(pulls_of_the_node, "FIRST_DELAY", 0.0)
    image = node.fake.images[0]
    if answer == "not allowed":
        node.cluster.all_policies[:] = [policy(images={"allowed": ["golang:*"]})]
        node.fake.registry[IMAGE] = image
    else:
        node.fake.registry[IMAGE] = "pinging container registry docker.io: connection refused"
    node.cluster.add_image(SPACE, "python", {**PYTHON, "pullPolicy": "Always"})
    async with node.process() as process:
        await until_ready(node, "ImageNotAllowed" if answer == "not allowed" else "RegistryUnavailable")
        before = pulls(node)
        node.cluster.all_policies[:] = [policy()]
        node.fake.registry[IMAGE] = image
        process.wakers.all()
        await until_ready(node)
        assert pulls(node) > before
        assert node.fake.images.count(image) == 2, "it was pulled"


async def test_a_pull_that_a_policy_forbids_meanwhile_ends(node: Node) -> None:
    node.cluster.add_image(SPACE, "python", PYTHON)
    async with node.process(killer := Killer(held=PULL)) as process:
        await until_ready(node)
        node.fake.images.pop(0)
        await swept(process)
        await until_ready(node, "Pulling")
        node.cluster.all_policies[:] = [policy(images={"allowed": ["golang:*"]})]
        process.wakers.all()
        await until_ready(node, "ImageNotAllowed")
        await node.until(lambda: len(killer.given_up) == 1, "the pull is cancelled")


async def test_the_cli_is_pulled_once_for_an_image_that_is_here(node: Node, passes: list[float | None]) -> None:
    cli = node.fake.images.pop()
    name = "quay.io/team/cli:1"
    cli.tags[:] = [name]
    node.fake.registry[name] = cli
    image, _, tag = name.rpartition(":")
    node.cluster.all_policies[:] = [policy(cli={"image": image, "tag": tag, "pull": "Always"})]
    node.cluster.add_image(SPACE, "python", PYTHON)
    async with node.process(killer := Killer(held=PULL)) as process:
        await until_ready(node)
        assert conditions(node)["Compatible"] == ("Unknown", "CLIImageUnavailable")
        await node.until(lambda: any(PULL in call for call in killer.calls), "the pull of the CLI")
        killer.go_on.set()
        await node.until(lambda: conditions(node)["Compatible"] == ("True", "Compatible"), "the CLI is here")
        process.wakers.all()
        await passed(node, passes)
    assert not killer.given_up
    assert pulls(node) == 1


async def test_what_podman_refuses_about_one_image_does_not_keep_the_others_from_being_checked(
    node: Node, passes: list[float | None]
) -> None:
    """Such as an image of which a layer was damaged."""
    image = node.fake.images[0]
    digest = f"docker.io/library/python@sha256:{image.id}"  # which is never refreshed, so that only the check wakes it
    node.cluster.add_image(SPACE, "broken", {"image": "quay.io/team/broken:1", "pullPolicy": "Never"})
    node.cluster.add_image(SPACE, "python", {"image": digest})
    trouble = Trouble(error=PodmanError("Podman refused GET: layer not known"))
    async with node.process(trouble=trouble) as process:
        await until_ready(node, "ImagePullFailed", "broken")
        await until_ready(node)
        await node.until(lambda: passes.count(None) >= 2, "the pass to which its own write led")
        trouble.matching = "team/broken"
        node.fake.images.remove(image)
        node.fake.registry[digest] = image
        await swept(process)
        await node.until(lambda: image in node.fake.images, "the other is pulled again")


async def test_an_image_that_goes_twice_is_pulled_twice(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.cluster.add_image(SPACE, "python", PYTHON)
    image = node.fake.registry[IMAGE] = node.fake.images[0]
    async with node.process() as process:
        await until_ready(node)
        for number in (1, 2):
            node.fake.images.remove(image)
            await swept(process)
            await node.until(lambda: image in node.fake.images and ready(node) == "Present", "it is here again")
            assert pulls(node) == number


async def test_the_check_wakes_an_image_once_for_what_is_on_the_node_and_not_open_to_it(
    node: Node, roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one that only others' credentials could pull: each pass asks the registry, and writes that it does."""
    monkeypatch.setattr(Access, "is_open", lambda *_: False)
    monkeypatch.setattr(Access, "is_open_to", lambda *_: False)
    woken_for: list[str] = []

    class Noted(dict[str, str]):
        def __setitem__(self, uid: str, found: str) -> None:
            woken_for.append(found)
            super().__setitem__(uid, found)

    original = AgentImages.check

    async def check(images: AgentImages) -> None:
        images._woken_for = Noted(images._woken_for)
        await original(images)

    async def denied(*_: object) -> str:
        raise RegistryError("docker.io denies access", RegistryProblem.DENIED)

    monkeypatch.setattr(AgentImages, "check", check)
    monkeypatch.setattr("stromboli.registries.Registries.digest", denied)
    node.fake.registry[IMAGE] = "reading manifest in docker.io/library/python:3.12: unauthorized"
    node.cluster.add_image(SPACE, "python", PYTHON)
    old = node.fake.images[0]
    async with node.process() as process:
        await until_ready(node, "ImagePullFailed")
        for _ in range(3):
            await swept(process)
        assert woken_for == [old.id]
        old.tags.clear()
        new = node.fake.add_image(IMAGE, root=roots.image)
        for _ in range(3):
            await swept(process)
    assert woken_for == [old.id, new.id]


async def test_what_an_image_says_of_itself_does_not_steer_a_terminal(node: Node, roots: Roots, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(roots.image, root, symlinks=True)
    (root / "\x1b[2J").mkdir()
    shutil.copy(root / "usr/bin/dash", root / "\x1b[2J/claude")
    labels = {"ai.stromboli.description": "\x1b[31mred\u202e" + 2000 * "\x1b"}
    node.fake.add_image("quay.io/team/app:1", root=root, Env=["PATH=/\x1b[2J:/usr/bin"], Labels=labels)
    node.cluster.add_image(SPACE, "python", {"image": "quay.io/team/app:1"})
    async with node.process():
        await until_ready(node)
    [entry] = status(node)["nodes"]
    assert entry["claudeCLI"] == "/\\x1b[2J/claude"
    assert entry["description"].startswith("\\x1b[31mred\\u202e\\x1b")
    assert len(entry["description"]) == 1024


async def test_an_image_that_cannot_be_recorded_as_one_that_goes_with_its_object_is_ready_all_the_same(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as on a full disk: it is recorded later."""
    folder = node.settings.home / "holdings"
    folder.write_text("in the way")
    uid = node.cluster.add_image(SPACE, "python", {**PYTHON, "deletionPolicy": "Delete"})["metadata"]["uid"]
    async with node.process():
        await until_ready(node)
        folder.unlink()
        await node.until(lambda: (folder / uid).exists(), "it is recorded")
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_namespace_whose_labels_change_comes_under_other_policies(node: Node) -> None:
    narrow = {"namespaceSelector": {"matchLabels": {"team": "a"}}, "images": {"allowed": ["golang:*"]}}
    node.cluster.all_policies.append({"metadata": {"name": "narrow"}, "spec": narrow})
    digest = f"python@sha256:{node.fake.images[0].id}"  # which is never refreshed
    node.cluster.add_image(SPACE, "python", {"image": digest})
    async with node.process() as process:
        await until_ready(node)
        await swept(process)
        node.cluster.labels[SPACE] = {"team": "a"}
        await swept(process)
        await until_ready(node, "ImageNotAllowed")
        node.cluster.labels[SPACE] = {}
        await swept(process)
        await until_ready(node)
