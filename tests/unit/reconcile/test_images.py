"""Runs whose image is not what its name says: another repository's digest, a local name that no registry has."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from stromboli.node import pulls
from stromboli.plan.refusal import AFTERWARDS
from tests.support.wire import reason_of
from tests.unit.reconcile.conftest import IMAGE, SPACE, Inside, Node, Roots, policy
from tests.unit.reconcile.faults import Killer

PULL = "/images/create"
MINE = "localhost/mine:1"
AWAY = "pinging container registry registry-1.docker.io: connection refused"


async def test_no_image_of_the_node_runs_under_an_allowed_repositorys_name(node: Node, roots: Roots) -> None:
    node.cluster.all_policies[:] = [policy(images={"allowed": ["python:*"]})]
    others = node.fake.add_image("quay.io/other/secret:1", root=roots.image)
    node.run("a", image=f"python@sha256:{others.id}")
    node.run("b", image=f"python@sha256:{node.fake.images[0].id}")
    async with node.process():
        await node.finished()
    assert (node.status("a")["phase"], node.status("b")["phase"]) == ("Failed", "Succeeded")
    assert node.message("a").startswith(f"image docker.io/library/python@sha256:{others.id} could not be pulled")
    assert "quay.io" not in node.message("a")
    assert len(node.prompts) == 1


async def test_an_image_in_which_podman_would_wait_is_never_started(node: Node, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    os.mkfifo(tmp_path / "etc/passwd")
    node.fake.add_image(MINE, root=tmp_path)
    node.run(image=MINE)
    async with node.process():
        await node.finished()
    assert (reason_of(node.status()), node.message()) == (
        "ImageIncompatible",
        "its /etc/passwd is not a regular file, and Podman reads that before it starts a container; use an image in "
        f"which it is a regular file, or absent; {AFTERWARDS}",
    )


@pytest.mark.parametrize(("wanted", "expected"), [(None, "/image"), ("/own", "/own")])
async def test_the_images_working_directory_is_entered_from_within(
    node: Node, roots: Roots, wanted: str | None, expected: str
) -> None:
    node.fake.add_image(MINE, root=roots.image, WorkingDir="/image")
    steps = []

    async def supervisor(inside: Inside) -> None:
        steps.append((inside.plan / "steps").read_text())
        await node.supervise(inside)

    node.supervisor = supervisor
    node.run(image=MINE, **({"workdir": wanted} if wanted else {}))
    async with node.process():
        await node.finished()
    assert f"_workdir='{expected}'\n" in steps[0]


@pytest.mark.parametrize("words", ["manifest unknown", AWAY])
async def test_a_short_name_of_what_was_built_here_is_answered_with_the_whole_one(
    node: Node, roots: Roots, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.setattr(pulls, "FIRST_DELAY", 60.0)
    node.fake.add_image(MINE, root=roots.image)
    node.fake.registry["docker.io/library/mine:1"] = words
    node.run(image="mine:1")
    reason = "RegistryUnavailable" if words == AWAY else "ImagePullFailed"
    async with node.process():
        await node.reason(reason)
    assert f"{MINE} is on the node: write that if it is meant" in node.message()


async def test_a_name_that_policies_do_not_admit_is_not_told_of(node: Node, roots: Roots) -> None:
    node.cluster.all_policies[:] = [policy(images={"allowed": ["mine:*"]})]
    node.fake.add_image(MINE, root=roots.image)
    node.run(image="mine:1")
    async with node.process():
        await node.finished()
    assert "localhost" not in node.message()


async def test_a_local_name_that_is_not_there_ends_the_run_at_once(node: Node) -> None:
    node.run(image=MINE)
    async with node.process():
        await node.finished()
    assert node.message() == (
        f"the image {MINE} is not on the node, and localhost is no registry to pull it from; build or load it there "
        f"under this name, or name an image of a registry; {AFTERWARDS}"
    )
    assert not any("/images/create" in call for call in node.fake.calls)


async def test_variables_of_the_image_that_the_cli_is_spared_are_told_of(node: Node, roots: Roots) -> None:
    node.fake.add_image(MINE, root=roots.image, Env=["PATH=/bin", "NODE_OPTIONS=--inspect-brk", "LANG=C"])
    node.run(image=MINE)
    async with node.process():
        await node.finished()
    [told] = [e for e in node.cluster.events.values() if e["reason"] == "VariablesWithheld"]
    assert told["type"] == "Warning"
    assert "the image sets NODE_OPTIONS, with which" in told["message"]


@pytest.mark.parametrize("kept", [False, True])
async def test_a_volume_whose_target_leads_over_the_cli_is_refused(
    node: Node, roots: Roots, tmp_path: Path, kept: bool
) -> None:
    root = tmp_path / "root"
    shutil.copytree(roots.image, root, symlinks=True)
    (root / "srv").mkdir()
    (root / "srv/tools").symlink_to("/opt/claude/bin")
    (tmp_path / "mine").mkdir()
    node.cluster.all_policies[:] = [policy(volumes={"allowed": [{"path": str(tmp_path)}]})]
    node.fake.add_image(MINE, root=root)
    volumes = [f"{tmp_path}/mine:/work", f"{tmp_path}/mine:/srv/tools"]
    session: dict[str, Any] = {"session": {"name": "s"}} if kept else {}
    node.run(image=MINE, volumes=volumes, **session)
    async with node.process():
        await node.finished()
    assert reason_of(node.status()) == "InvalidSpec"
    assert node.message().startswith(
        "spec.volumes[1]: nothing can be mounted at /srv/tools: there the container has a link to /opt/claude/bin, and "
        "/opt/claude belongs to the kernel or to Stromboli"
    )
    assert node.prompts == []
    assert not any(call.endswith("/start") for call in node.fake.calls)


@pytest.mark.parametrize("how", ["is deleted", "waits too long"])
async def test_a_pull_is_cancelled_when_the_last_run_that_waits_for_it_is_gone(node: Node, how: str) -> None:
    waits_short = {"timeout": "300ms"} if how == "waits too long" else {}
    for name in ("one", "two"):
        node.run(name, image="slow:1", **waits_short if name == "two" else {})
    async with node.process(killer := Killer(held=PULL)):
        for name in ("one", "two"):
            await node.reason("Pulling", name)
        node.cluster.delete_run(SPACE, "one")
        if how == "is deleted":
            node.cluster.delete_run(SPACE, "two")
        else:
            await node.reason("TimedOut", "two")
        await node.until(lambda: len(killer.given_up) > 0, "the pull is cancelled")
        assert [call for call in killer.calls if PULL in call] == killer.given_up


async def test_a_pull_goes_on_for_those_who_still_wait(node: Node, roots: Roots) -> None:
    node.fake.registry["docker.io/library/slow:1"] = image = node.fake.add_image("slow", root=roots.image)
    node.fake.images.remove(image)
    image.tags[:] = ["docker.io/library/slow:1"]
    for name in ("one", "two"):
        node.run(name, image="slow:1")
    async with node.process(killer := Killer(held=PULL)) as process:
        for name in ("one", "two"):
            await node.reason("Pulling", name)
        uid = node.get("one")["metadata"]["uid"]
        node.cluster.delete_run(SPACE, "one")
        await node.until(lambda: uid not in process.store.known(), "it is gone")
        killer.go_on.set()
        await node.reason("Completed", "two")
    assert not killer.given_up
    assert len([call for call in killer.calls if PULL in call]) == 1


async def test_an_image_that_is_removed_between_look_and_start_is_pulled_for_the_same_run(node: Node) -> None:
    image = node.fake.images[0]
    node.fake.registry[IMAGE] = image
    killer = Killer()

    def remove(_: int) -> None:
        if killer.calls[-1].endswith("/containers/create") and image in node.fake.images:
            node.fake.images.remove(image)
            killer.before = lambda _: None

    node.run("first")  # so that the next one's only container is the agent's
    async with node.process(killer):
        await node.finished("first")
        killer.before = remove
        node.run("second")
        await node.finished("second")
    assert [call for call in node.fake.calls if PULL in call] != []
    assert reason_of(node.status("second")) == "Completed"
    assert len(node.prompts) == 2
