"""Runs that are canceled, held back or deleted while something is under way for them: a pull, a copy, services, a wait
between two attempts. Nothing of that goes on, and nothing is left of it.
"""

from __future__ import annotations

from typing import Any

import pytest

from stromboli import naming
from stromboli.kube.outline import SMALL
from stromboli.plan import retry
from stromboli.reasons import Reason
from tests.support.wire import reason_of
from tests.unit.reconcile.conftest import SPACE, Inside, Node, policy
from tests.unit.reconcile.faults import Killer
from tests.unit.reconcile.stacked import Stacked
from tests.unit.reconcile.stage import STORY, Stage

COPY = "copy"
COMMIT, PULL = "POST /commit", "POST /images/create"
LARGE: dict[str, Any] = {"claude": {"settings": {"a": "x" * SMALL}}}


def ask(node: Node, name: str = "run", **spec: Any) -> None:
    node.cluster.change_spec(SPACE, name, **spec)


def failing(node: Node, *codes: int) -> None:
    """Agents that end with these codes, one after the other."""
    left = list(codes)

    async def play(inside: Inside) -> None:
        node.answer(inside, code=left.pop(0))

    node.agent = play


async def test_canceled_while_a_fork_is_copied(node: Node) -> None:
    stage = Stage(node)
    async with node.process(killer := Killer()):
        stage.run("first")
        await stage.idle()
        killer.held = COMMIT
        node.run("forked", session={"name": COPY, "fork": STORY})
        await node.until(lambda: COMMIT in killer.calls, "the copy has begun")
        ask(node, "forked", cancel=True)
        await node.reason(Reason.Canceled, "forked")
        killer.held = None
        await stage.free(COPY)
        stage.run("second")
        await stage.idle()
    fork = stage.session(COPY)["metadata"]["uid"]
    assert [image for image in node.fake.images for tag in image.tags if naming.copy(fork) in tag] == []
    assert [left for left in node.left(fork) if left.startswith(("container", "volume"))] == []
    assert stage.sent == ["first", "second"]


@pytest.mark.parametrize("session", [None, STORY])
async def test_canceled_while_services_start(node: Node, monkeypatch: pytest.MonkeyPatch, session: str | None) -> None:
    stage = Stacked(node, monkeypatch)
    stage.healthy.clear()
    async with node.process():
        uid = stage.up(session=session)
        await node.until(lambda: stage.running() == {"db", "cache"}, "two services run, and one never gets healthy")
        ask(node, cancel=True)
        await node.reason(Reason.Canceled)
        if session is None:
            await node.until(
                lambda: [left for left in stage.left(uid) if not left.startswith("sessions/")] == [], "all is gone"
            )
        else:
            await stage.free(session)
            stage.is_idle = True
            await node.until(lambda: stage.running() == set(), "the services are stopped")
    assert stage.sent == []
    assert "attempts" not in node.status()


async def test_canceled_while_an_image_is_pulled(node: Node) -> None:
    node.run(image="docker.io/library/debian:12")
    async with node.process(killer := Killer(held=PULL)) as process:
        await node.reason(Reason.Pulling)
        await node.until(lambda: PULL in killer.calls, "the pull has begun")
        ask(node, cancel=True)
        await node.cleared(process)
        await node.until(lambda: PULL in killer.given_up, "the pull is given up")
    assert reason_of(node.status()) == Reason.Canceled


async def test_deleted_while_it_waits_for_its_next_attempt(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST", 600.0)
    failing(node, 1)
    uid = node.run(retryOn=["AgentFailed"])["metadata"]["uid"]
    async with node.process():
        await node.reason(Reason.Retrying)
        assert node.left(uid)
        node.cluster.delete_run(SPACE, "run")
        await node.until(lambda: not node.left(uid), "nothing is left")


async def test_deleted_while_it_is_held_back(node: Node) -> None:
    stage = Stage(node)
    async with node.process():
        uid = stage.run("first", suspend=True)
        await node.reason(Reason.Suspended, "first")
        node.cluster.delete_run(SPACE, "first")
        stage.run("second")
        await stage.idle()
        await node.until(lambda: not node.left(uid), "nothing is left")


@pytest.mark.parametrize("suspend", [True, False])
async def test_canceled_once_held_back_it_is_over(node: Node, suspend: bool) -> None:
    node.run(suspend=True)
    async with node.process() as process:
        await node.reason(Reason.Suspended)
        ask(node, cancel=True, suspend=suspend)
        await node.cleared(process)
        ask(node, suspend=False)
        await node.until(process.is_idle, "nothing is to be done")
    assert reason_of(node.status()) == Reason.Canceled
    assert node.prompts == []


async def test_an_image_that_is_no_longer_allowed_is_not_started_again(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST", 0.2)
    failing(node, 1, 0)
    uid = node.run(retryOn=["AgentFailed"])["metadata"]["uid"]
    async with node.process() as process:
        await node.reason(Reason.Retrying)
        node.cluster.all_policies[:] = [policy(images={"allowed": ["debian:*"]})]
        await node.cleared(process)
    status = node.status()
    assert reason_of(status) == Reason.ImageNotAllowed
    assert [attempt["reason"] for attempt in status["attempts"]] == ["AgentFailed"]
    assert "nextAttemptTime" not in status
    assert len(node.prompts) == 1
    assert [left for left in node.left(uid) if left.startswith(("container", "volume"))] == []


@pytest.mark.parametrize("session", [None, STORY])
async def test_a_run_in_a_stack_is_tried_again_in_it(
    node: Node, monkeypatch: pytest.MonkeyPatch, session: str | None
) -> None:
    monkeypatch.setattr(retry, "FIRST", 0.1)
    stage = Stacked(node, monkeypatch)
    play, seen = stage.supervise, list[tuple[str, frozenset[str]]]()

    async def fails_once(inside: Inside) -> None:
        seen.append((inside.container.id, frozenset(one.id for one in stage.services().values())))
        stage.fails = {"postStart"} if len(seen) == 1 else set()
        await play(inside)

    node.supervisor = fails_once
    async with node.process():
        stage.up(session=session, retryOn=["HookFailed"], lifecycle={"postStart": ["begin"]})
        await node.finished()
    assert reason_of(node.status()) == Reason.Completed, node.message()
    assert [attempt["reason"] for attempt in node.status()["attempts"]] == ["HookFailed", "Completed"]
    assert seen[0][1] == seen[1][1], "the services are the same"


async def test_a_large_run_is_held_back_tried_again_and_canceled(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which only an outline is kept in memory."""
    monkeypatch.setattr(retry, "FIRST", 0.05)
    failing(node, 1, 1, 1)
    node.run(**LARGE, suspend=True, retryOn=["AgentFailed"], backoffLimit=9)
    async with node.process() as process:
        await node.reason(Reason.Suspended)
        ask(node, suspend=False)
        await node.until(lambda: len(node.prompts) == 2, "it is tried again")
        ask(node, suspend=True)
        await node.reason(Reason.Suspended)
        ask(node, cancel=True)
        await node.cleared(process)
    assert reason_of(node.status()) == Reason.Canceled
    assert len(node.prompts) == len(set(node.prompts)) == len(node.status()["attempts"])


async def test_canceled_where_a_killed_operators_start_may_still_come(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its container had been initialized: with all that it mounts, it only waits for that start."""
    Stacked(node, monkeypatch)
    node.supervisor = None
    folder = node.folder / "project"
    for name in ("one", "two"):
        (folder / name).mkdir(parents=True)
    node.cluster.all_policies[:] = [policy(volumes={"allowed": [{"path": str(folder)}]})]
    node.run(volumes=[f"{folder}/one:/work", f"{folder}/two:/work/inner"])
    killer = Killer()

    def before(number: int) -> None:
        if killer.calls[-1].endswith("/start"):
            killer.at = number

    killer.before = before
    async with node.process(killer):
        await node.until(killer.dead.is_set, "the operator is killed as it requests the start")
    [agent] = node.agents()
    assert agent.status == "initialized"
    ask(node, cancel=True)
    later, states = Killer(), list[str]()

    def told(_: int) -> None:
        if later.calls[-1] == "put status":
            states.append(agent.status)

    later.before = told
    async with node.process(later) as process:
        await node.cleared(process)
    assert reason_of(node.status()) == Reason.Canceled
    assert node.prompts == []
    assert states == ["exited"], "it could be started no more before that was said"
