"""What named sessions keep between their runs: the container and its hooks, the conversation, what it has cost."""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stromboli import naming
from stromboli.attempt.folder import SessionFolder
from stromboli.attempt.session_state import SessionState
from stromboli.attempt.site import Site
from stromboli.node.serial import SessionLocks
from stromboli.perform.sessions.costs import Costs
from stromboli.plan import answer
from stromboli.plan.answer import Answer
from stromboli.reasons import ReadyReason, Reason
from tests.support.builders import NOTHING_SECRET, result_event
from tests.support.wire import reason_of
from tests.unit.reconcile.conftest import SPACE, Node
from tests.unit.reconcile.faults import Killer
from tests.unit.reconcile.stage import STORY, Stage

INIT, START = "onCreateCommand", "postStart"
HOOKS = {INIT: ["install"], "postCreate": ["set up"], START: ["begin"]}


@pytest.fixture
def stage(node: Node) -> Stage:
    return Stage(node)


async def through(stage: Stage, name: str, **spec: Any) -> Any:
    """One run in the session, from its beginning to its end; the session's status."""
    stage.run(name, lifecycle=HOOKS, **spec)
    return await stage.idle()


def reason(stage: Stage, name: str) -> str:
    return reason_of(stage.node.status(name))


async def remove_by_hand(stage: Stage) -> None:
    """As `podman rm` of the session's container."""
    [container] = stage.node.agents()
    del stage.node.fake.containers[container.id]
    await stage.node.fake.happen(container, "remove")


# --- the container ---


async def test_hooks_of_the_beginning_run_once_a_container_and_post_start_with_each_run(
    node: Node, stage: Stage
) -> None:
    async with node.process():
        for name in ("first", "second", "third"):
            status = await through(stage, name)
    [container] = node.agents()
    assert stage.hooks == {(container.id, INIT): 1, (container.id, "postCreate"): 1, (container.id, START): 3}
    assert status["initialized"]["imageID"] == status["imageID"] == container.image_id
    assert stage.told("ContainerRebuilt") == []


async def test_a_container_removed_by_hand_is_made_again_hooks_and_all(node: Node, stage: Stage) -> None:
    async with node.process():
        before = (await through(stage, "first"))["containerID"]
        await remove_by_hand(stage)
        after = (await through(stage, "second"))["containerID"]
        assert (await through(stage, "third"))["containerID"] == after != before
        await node.until(lambda: stage.told("ContainerRebuilt") == ["second"], "it is told, and once")
    assert [stage.hooks[before, hook] for hook in HOOKS] == [1, 1, 1]
    assert [stage.hooks[after, hook] for hook in HOOKS] == [1, 1, 2]
    assert {reason(stage, name) for name in ("first", "second", "third")} == {Reason.Completed}
    assert len({node.status(name)["session"]["claudeSessionID"] for name in ("first", "second", "third")}) == 1


async def test_a_container_that_podman_could_not_start_again_is_made_again_before_that_is_tried(
    node: Node, stage: Stage, tmp_path: Path
) -> None:
    async with node.process():
        before = (await through(stage, "first"))["containerID"]
        [container] = node.agents()
        container.root = tmp_path / "root"
        shutil.copytree(node.fake.images[0].root, container.root, symlinks=True)
        (container.root / "etc/passwd").unlink()
        os.mkfifo(container.root / "etc/passwd")
        after = (await through(stage, "second"))["containerID"]
        assert after != before
        await node.until(lambda: stage.told("ContainerRebuilt") == ["second"], "it is told")
    assert reason(stage, "second") == Reason.Completed
    assert [stage.hooks[after, hook] for hook in HOOKS] == [1, 1, 1]
    [event] = [e for e in node.cluster.events.values() if e["reason"] == "ContainerRebuilt"]
    assert event["message"] == (
        f"the container of session {STORY} can never be started again after what a run did in it: its /etc/passwd is "
        "not a regular file, which Podman reads before a start: it is created again, and its hooks run again"
    )
    assert stage.sent == ["first", "second"]


@pytest.mark.parametrize("hook", [INIT, "postCreate"])
async def test_hooks_of_the_beginning_that_fail_take_the_container_with_them(
    node: Node, stage: Stage, hook: str
) -> None:
    stage.fails = {hook}
    async with node.process():
        failed = await through(stage, "first")
        assert reason(stage, "first") == Reason.HookFailed
        assert node.agents() == []
        assert not failed.get("containerID")
        assert not failed.get("initialized")
        assert stage.conditions() == {"Ready": ("True", ReadyReason.Available)}
        stage.fails = set()
        status = await through(stage, "second")
    assert reason(stage, "second") == Reason.Completed
    assert [stage.hooks[status["containerID"], each] for each in HOOKS] == [1, 1, 1]
    assert stage.told("ContainerRebuilt") == [], "nobody but us removed it"


async def test_post_start_that_fails_does_not(node: Node, stage: Stage) -> None:
    stage.fails = {START}
    async with node.process():
        before = await through(stage, "first")
        assert reason(stage, "first") == Reason.HookFailed
        assert before["initialized"]["hooksHash"]
        stage.fails = set()
        after = await through(stage, "second")
    assert reason(stage, "second") == Reason.Completed
    assert after["containerID"] == before["containerID"] == node.agents()[0].id
    assert [stage.hooks[after["containerID"], hook] for hook in HOOKS] == [1, 1, 2]
    assert stage.sent == ["second"]


async def test_cut_short_in_the_middle_of_its_hooks_it_is_made_again(node: Node, stage: Stage) -> None:
    """A machine that stops between two hooks has a container that is half set up, and no record of its end."""
    played = stage.supervise
    cut: list[str] = []

    async def cut_short(inside: Any) -> None:
        if cut:
            await played(inside)
            return
        cut.append(inside.container.id)
        (inside.out / "started").mkdir()
        (inside.out / "record").write_text(f"start 1.0\nbegin {INIT} 0 1.0\nfinish 0 1.0\nbegin postCreate 0 1.0\n")
        inside.end(137)

    node.supervisor = cut_short
    async with node.process():
        status = await through(stage, "first")
    assert reason(stage, "first") == Reason.Completed
    assert [status["containerID"]] == [c.id for c in node.agents()] != cut
    assert [stage.hooks[status["containerID"], hook] for hook in HOOKS] == [1, 1, 1]


# --- forks ---


async def test_a_fork_of_a_session_whose_container_was_removed_says_that_it_has_none_of_its_files(
    node: Node, stage: Stage
) -> None:
    stage.fails = {START}  # so that there is no conversation to copy, which this Podman could not
    async with node.process():
        await through(stage, "first")
        await remove_by_hand(stage)
        node.fake.volumes.clear()
        stage.fails = set()
        stage.names[node.run("forked", session={"name": "copy", "fork": STORY})["metadata"]["uid"]] = "forked"
        status = await stage.idle("copy")
        await node.until(lambda: stage.told("FilesNotCopied") == ["forked"], "it is told")
    assert reason(stage, "forked") == Reason.Completed
    assert status["forkedFrom"]["filesystem"] == "Lost"
    assert stage.hooks[status["containerID"], INIT] == 1, "its hooks ran again"
    assert "containerImageID" not in node.status("forked")["image"]


async def test_a_fork_of_a_session_that_never_began_lacks_nothing(node: Node, stage: Stage) -> None:
    stage.fails = {INIT}
    async with node.process():
        await through(stage, "first")
        node.fake.volumes.clear()
        stage.fails = set()
        stage.names[node.run("forked", session={"name": "copy", "fork": STORY})["metadata"]["uid"]] = "forked"
        status = await stage.idle("copy")
    assert reason(stage, "forked") == Reason.Completed
    assert status["forkedFrom"]["filesystem"] == "NotBegun"
    assert stage.told("FilesNotCopied") == []


async def test_a_fork_waits_while_a_copy_of_its_parent_could_fill_the_disk(node: Node, stage: Stage) -> None:
    stage.fails = {START}  # so that there is no conversation to copy, which this Podman could not
    async with node.process():
        await through(stage, "first")
        node.fake.volumes.clear()
        stage.fails = set()
        [container] = node.agents()
        container.written = 7_200_000_000
        node.fake.taken = node.fake.disk - 14_399_999_999
        stage.names[node.run("forked", session={"name": "copy", "fork": STORY})["metadata"]["uid"]] = "forked"
        await node.reason(Reason.NodeOutOfDisk, "forked")
        assert "the files of session story takes up to 7.2 GB" in node.message("forked")
        assert "half of the 14.4 GB that are free" in node.message("forked")
        assert not [call for call in node.fake.calls if call == "POST /commit"]
        node.fake.taken -= 1
        status = await stage.idle("copy")
    assert reason(stage, "forked") == Reason.Completed
    assert status["forkedFrom"]["filesystem"] == "Copied"
    assert node.fake.calls.count("POST /commit") == 1


@pytest.mark.parametrize("there", [True, False], ids=["copy-there", "copy-removed"])
async def test_a_forks_container_that_was_removed_is_made_of_its_copy_again(
    node: Node, stage: Stage, there: bool
) -> None:
    copy = node.fake.image("localhost/copy:1", root=node.fake.images[0].root)
    if there:
        node.fake.images.append(copy)
    async with node.process():
        await through(stage, "first")
        folder = Site(node.home(), node.settings.runtime_dir / node.cluster.uid, node.cluster.uid).folder(
            stage.session()["metadata"]["uid"]
        )
        state = folder.read_state()
        folder.write_state(replace(state, copy=copy.id, copy_hooks=state.hooks))  # as a fork has it
        await remove_by_hand(stage)
        status = await through(stage, "second")
        await node.until(lambda: stage.told("ContainerRebuilt") == ["second"], "it is told")
        await node.until(lambda: stage.told("FilesNotCopied") == ([] if there else ["second"]), "it is told")
    [container] = node.agents()
    assert (container.image_id == copy.id) is there
    assert stage.hooks[status["containerID"], INIT] == (0 if there else 1)
    assert node.status("second")["image"].get("containerImageID") == (copy.id if there else None)


# --- the conversation ---


async def test_a_volume_that_is_gone_is_said_of_the_run_and_of_the_session(node: Node, stage: Stage) -> None:
    async with node.process():
        await through(stage, "first")
        uid = stage.session()["metadata"]["uid"]
        await remove_by_hand(stage)
        del node.fake.volumes[naming.volume(uid)]
        await through(stage, "second")
        assert stage.conditions() == {
            "Ready": ("False", ReadyReason.VolumeLost),
            "Stalled": ("True", ReadyReason.VolumeLost),
        }
        await node.until(lambda: stage.told("VolumeLost") == [STORY], "the session's event")
        await through(stage, "third")
    for name in ("second", "third"):
        assert reason(stage, name) == Reason.ContainerLost
        assert naming.volume(uid) in node.message(name)
        assert f"kubectl delete agentsession {STORY}" in node.message(name)
        assert {"type": "Stalled", "status": "True"}.items() <= node.status(name)["conditions"][-1].items()
    assert stage.sent == ["first"]
    assert stage.conditions()["Ready"] == ("False", ReadyReason.VolumeLost)


async def test_a_volume_without_a_conversation_is_missed_by_nobody(node: Node, stage: Stage) -> None:
    stage.fails = {START}
    async with node.process():
        await through(stage, "first")
        await remove_by_hand(stage)
        node.fake.volumes.clear()
        stage.fails = set()
        await through(stage, "second")
    assert reason(stage, "second") == Reason.Completed


# --- what it takes on disk ---


async def test_its_size_is_looked_at_once_the_turn_is_given_back_and_keeps_nobody_waiting(
    node: Node, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking, go_on = threading.Event(), threading.Event()

    def walk(_: Path, over: threading.Event) -> int:
        looking.set()
        go_on.wait()
        return 4096

    monkeypatch.setattr("stromboli.node.resting.disk_usage", walk)
    try:
        async with node.process():
            await through(stage, "first")
            await node.until(looking.is_set, "somebody looks")
            await through(stage, "second")
            assert "sizeBytes" not in stage.status()
            go_on.set()
            await node.until(lambda: stage.status().get("sizeBytes") == 4096, "its size is written down")
    finally:
        go_on.set()
    assert stage.sent == ["first", "second"]


async def test_a_look_at_its_size_is_broken_off_when_it_is_deleted(
    node: Node, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking, ended = threading.Event(), threading.Event()

    def walk(_: Path, over: threading.Event) -> int:
        looking.set()
        over.wait()
        ended.set()
        return 4096

    monkeypatch.setattr("stromboli.node.resting.disk_usage", walk)
    async with node.process():
        await through(stage, "first")
        await node.until(looking.is_set, "somebody looks")
        uid = stage.session()["metadata"]["uid"]
        await node.cluster.delete_session(SPACE, STORY)
        await node.until(lambda: ended.is_set() and not node.left(uid), "nothing of it is left, and nobody looks")


# --- what it costs ---


async def test_each_run_costs_what_it_added(node: Node, stage: Stage) -> None:
    """The CLI counts a conversation's cost from its beginning; one that has lost count adds nothing, not less."""
    stage.counted = {"first": 0.5, "second": 0.75, "third": 0.25, "fourth": 1.0}
    async with node.process():
        for name in stage.counted:
            await through(stage, name)
    costs = [node.status(name)["usage"]["costUSD"] for name in stage.counted]
    assert costs == [0.5, 0.25, 0.0, 0.25]


async def test_what_was_counted_is_not_counted_again_after_a_kill(node: Node, stage: Stage) -> None:
    """The operator dies once it has noted the cost, before the run's status has it."""
    stage.counted = {"first": 0.5, "second": 0.75}
    killer = Killer()

    def noted() -> float:
        uid = stage.session()["metadata"]["uid"]
        return Site(node.home(), node.settings.runtime_dir, node.cluster.uid).folder(uid).read_state().spent

    def die(number: int) -> None:
        if killer.calls[-1] == "put status" and "second" in stage.sent and noted() == 0.75:
            killer.at = number

    killer.before = die
    async with node.process(killer):
        await through(stage, "first")
        stage.run("second", lifecycle=HOOKS)
        await node.until(killer.dead.is_set, "the operator is killed")
    assert "usage" not in node.status("second")
    async with node.process():
        await stage.idle()
    assert node.status("second")["usage"]["costUSD"] == 0.25
    assert stage.sent == ["first", "second"]


def told(cost: float) -> Answer:
    found = answer.parse(result_event(total_cost_usd=cost), NOTHING_SECRET)
    assert found is not None
    return found


def costs_of(node: Node) -> tuple[Costs, SessionFolder]:
    """And the folder of a session."""
    site = Site(node.home(), node.settings.runtime_dir, node.cluster.uid)
    return Costs(site, SessionLocks()), site.folder("0b2c6f7e-0000-4000-8000-000000000001")


async def test_the_cost_of_an_attempt_is_the_same_whenever_it_is_asked_for(node: Node) -> None:
    found, folder = costs_of(node)
    folder.write_state(SessionState())
    uid, costs = folder.path.name, []
    for attempt, cost in (("a-1", 0.5), ("a-1", 0.5), ("b-1", 0.75), ("b-1", 0.75), ("b-1", 0.75), ("c-1", 1.75)):
        after = await found.of_attempt(uid, attempt, told(cost))
        assert replace(after, cost_usd=cost) == told(cost), "nothing else changes"
        costs.append(after.cost_usd)
    assert costs == [0.5, 0.5, 0.25, 0.25, 0.25, 1.0]


async def test_nothing_is_written_down_of_a_session_that_was_deleted(node: Node) -> None:
    found, folder = costs_of(node)
    assert (await found.of_attempt(folder.path.name, "a-1", told(0.5))).cost_usd == 0.5
    assert not folder.path.exists()
