"""A fork is copied beside the reconcile passes: nobody else waits, it can be broken off, a restart begins it again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stromboli import naming
from stromboli.errors import PodmanUnavailable
from stromboli.reasons import Reason
from tests.support.wire import is_finished, reason_of
from tests.unit.reconcile.conftest import IMAGE, SPACE, Node, Process, Roots, made_node
from tests.unit.reconcile.faults import Killer, Trouble
from tests.unit.reconcile.stage import STORY, Stage

COPY = "copy"
START = "postStart"
COMMIT = "POST /commit"


@pytest.fixture
def stage(node: Node) -> Stage:
    return Stage(node)


def fork(stage: Stage, name: str = "forked", **spec: Any) -> str:
    """Apply a run that forks the session; its UID."""
    uid: str = stage.node.run(name, session={"name": COPY, "fork": STORY}, **spec)["metadata"]["uid"]
    stage.names[uid] = name
    return uid


async def begun(stage: Stage, *, conversation: bool = False) -> None:
    """A session with a container to copy, and a conversation only if that is asked for."""
    stage.fails = set() if conversation else {START}
    stage.run("first", lifecycle={START: ["begin"]})
    await stage.idle()
    stage.fails = set()
    if not conversation:
        stage.node.fake.volumes.clear()


async def copying(stage: Stage, killer: Killer, at: str = COMMIT) -> str:
    """Until the copy has come to a call that is held; the fork's UID."""

    def there() -> bool:
        calls = killer.calls
        return COMMIT in calls and any(call.endswith(at) for call in calls[calls.index(COMMIT) :])

    await stage.node.until(there, f"the copy is at {at}")
    await stage.node.reason(Reason.Starting, "forked")
    uid: str = stage.session(COPY)["metadata"]["uid"]
    return uid


def half_made(node: Node, uid: str) -> list[str]:
    """What there is on the node of a session, but for its folder."""
    return [image for i in node.fake.images for image in i.tags if uid in image] + [
        left for left in node.left(uid) if left.startswith(("container", "volume"))
    ]


def hold_the_conversation(killer: Killer) -> None:
    """The copy stops once all that it makes is there, and nothing of it complete."""

    def before(number: int) -> None:
        if killer.calls[number - 1] == COMMIT:
            killer.held = "/attach$"

    killer.before = before


async def held_copy(stage: Stage, killer: Killer, **spec: Any) -> str:
    """A fork whose copy has stopped there; its UID."""
    await begun(stage, conversation=True)
    hold_the_conversation(killer)
    fork(stage, **spec)
    return await copying(stage, killer, "/attach")


async def test_nobody_waits_for_a_copy_but_who_needs_it(node: Node, stage: Stage) -> None:
    node.settings = node.settings.model_copy(update={"max_starts": 1})
    async with node.process(killer := Killer(held=COMMIT)):
        await begun(stage)
        fork(stage)
        await copying(stage, killer)
        assert node.message("forked") == "copying the session story"
        stage.run("another", "another")
        await node.finished("another")
        stage.run("behind")
        await node.reason(Reason.Queued, "behind")
        assert node.cluster.writes.count(f"status {SPACE}/forked Starting") == 1
        killer.go_on.set()
        await stage.idle(COPY)
        await stage.idle()
    assert [reason_of(node.status(name)) for name in ("forked", "behind")] == [Reason.Completed] * 2
    assert stage.status(COPY)["forkedFrom"]["filesystem"] == "Copied"
    assert node.fake.calls.count(COMMIT) == 1


async def test_the_run_is_deleted_meanwhile(node: Node, stage: Stage) -> None:
    killer = Killer()
    async with node.process(killer):
        uid = await held_copy(stage, killer)
        assert len(half_made(node, uid)) == 3
        node.cluster.delete_run(SPACE, "forked")
        await node.until(lambda: not half_made(node, uid), "nothing is left of the copy")
        for session in (COPY, STORY):
            await stage.free(session)
        killer.held = None
        stage.run("second")
        await stage.idle()
    assert reason_of(node.status("second")) == Reason.Completed
    assert not half_made(node, uid)


async def test_what_podman_completes_after_that_is_removed_by_a_sweep(node: Node, stage: Stage) -> None:
    """Late in a commit, Podman does not notice that nobody waits for its answer any more."""
    killer = Killer()
    async with node.process(killer) as process:
        uid = await held_copy(stage, killer)
        [copy] = [image for image in node.fake.images if naming.copy(uid) in image.tags]
        node.cluster.delete_run(SPACE, "forked")
        await node.until(lambda: not half_made(node, uid), "nothing is left of the copy")
        await node.until(lambda: "currentRun" not in stage.status(COPY), "nobody has the fork")
        node.fake.images.append(copy)
        assert await process.sweep.attempt()
        await node.until(lambda: not half_made(node, uid), "nothing is left of the copy again")


async def test_the_fork_is_deleted_meanwhile(node: Node, stage: Stage) -> None:
    killer = Killer()
    async with node.process(killer):
        uid = await held_copy(stage, killer)
        await node.cluster.delete_session(SPACE, COPY)
        await node.until(lambda: not half_made(node, uid) and not node.left(uid), "nothing is left of the fork")
        await node.until(lambda: (SPACE, COPY) in node.cluster.all_sessions, "its run makes another")
        other = stage.session(COPY)["metadata"]["uid"]
        await node.until(lambda: len(half_made(node, other)) == 3, "which is copied")
    assert other != uid


async def test_a_copy_failed_and_its_run_is_refused(node: Node, stage: Stage) -> None:
    killer = Killer()
    async with node.process(killer):
        uid = await held_copy(stage, killer)
        node.cluster.all_policies[0]["spec"]["images"] = {"allowed": ["debian:*"]}
        node.fake.fail("DELETE /containers/", 500, times=4)  # and its helper stays for a while
        node.fake.fail("/attach$")
        killer.go_on.set()
        await node.reason(Reason.ImageNotAllowed, "forked")
        await node.until(lambda: not half_made(node, uid), "nothing is left of the copy")
        await stage.idle()
        await stage.idle(COPY)


async def test_a_policy_that_changes_meanwhile_ends_the_copy(node: Node, stage: Stage) -> None:
    killer = Killer()
    async with node.process(killer):
        uid = await held_copy(stage, killer)
        node.cluster.all_policies[0]["spec"]["images"] = {"allowed": ["**"]}
        await node.until(lambda: killer.calls.count("policies") > 5, "the policies are looked at")
        assert len(half_made(node, uid)) == 3, "it goes on while they allow it"
        node.cluster.all_policies[0]["spec"]["images"] = {"allowed": ["debian:*"]}
        await node.reason(Reason.ImageNotAllowed, "forked")
        await node.until(lambda: not half_made(node, uid), "nothing is left of the copy")
        await stage.idle(COPY)
        await stage.idle()
    assert "debian:*" in node.message("forked")


async def test_a_copy_that_takes_longer_than_the_run_may(node: Node, stage: Stage) -> None:
    killer = Killer()
    async with node.process(killer):
        uid = await held_copy(stage, killer, timeout="200ms")
        await node.reason(Reason.TimedOut, "forked")
        await stage.idle()
        await stage.idle(COPY)
    assert "copying the session story took longer than the run's timeout of 200ms" in node.message("forked")
    assert not half_made(node, uid)


async def test_what_broke_a_copy_off_is_said_and_it_is_tried_again(node: Node, stage: Stage) -> None:
    trouble = Trouble(error=PodmanUnavailable("Podman did not answer"))
    async with node.process(trouble=trouble):
        await begun(stage)
        trouble.matching = COMMIT
        fork(stage)
        await node.reason(Reason.PodmanUnavailable, "forked")
        trouble.matching = None
        await stage.idle(COPY)
    assert reason_of(node.status("forked")) == Reason.Completed


async def through(node: Node, process: Process, true: Callable[[], bool]) -> None:
    """One operator, until it is killed or that is true."""
    await node.until(lambda: process.killer.dead.is_set() or true(), f"{process.killer.at}")


async def fork_killed_at(roots: Roots, number: int | None, *, after: bool = False) -> list[str]:
    """A session and its fork, by an operator that is killed at its n-th call from the fork's beginning on, and by
    another; the calls of the first.
    """
    async with made_node(roots) as node:
        stage = Stage(node)
        async with node.process():
            await begun(stage)

        def over() -> bool:
            done = is_finished(node.status("forked")) and (SPACE, COPY) in node.cluster.all_sessions
            return done and all("currentRun" not in stage.status(s) for s in (STORY, COPY))

        fork(stage)
        async with node.process(killer := Killer(number, after=after)) as process:
            await through(node, process, over)
        async with node.process() as process:
            await through(node, process, over)
        told = f"killed at call {number}, {killer.calls[-1]}"
        assert reason_of(node.status("forked")) == Reason.Completed, f"{told}: {node.status('forked')}"
        assert stage.sent == ["forked"], told
        assert stage.status(COPY)["forkedFrom"]["filesystem"] == "Copied", told
        uid = stage.session(COPY)["metadata"]["uid"]
        [container] = [c for c in node.agents() if c.name == naming.agent(uid).name]
        [copy] = [i for i in node.fake.images if naming.copy(uid) in i.tags]
        assert container.image_id == copy.id, told
        assert [i.tags for i in node.fake.images if IMAGE not in i.tags and naming.copy(uid) not in i.tags][1:] == []
    return killer.calls


async def test_killed_at_any_call_of_a_copy_the_next_operator_makes_it(roots: Roots) -> None:
    """Of each two calls, one before its effect, and one after it."""
    calls = await fork_killed_at(roots, None)
    first = calls.index("create session") + 1
    last = next(n for n, call in enumerate(calls, start=1) if n > first and call == "POST /containers/create")
    assert first < calls.index(COMMIT) < last
    for number in range(first, last + 1):
        await fork_killed_at(roots, number, after=bool(number % 2))


async def test_a_parent_that_somebody_changes_as_it_is_given_back_is_free_all_the_same(
    node: Node, stage: Stage
) -> None:
    """Otherwise it would be the fork's run's until that ends."""
    stage.hold("forked")
    changed: list[int] = []
    async with node.process(killer := Killer()):
        await begun(stage)

        def before(number: int) -> None:
            if killer.calls[number - 1] == "put session" and COMMIT in killer.calls and not changed:
                changed.append(number)
                found = stage.session()
                assert found["status"]["currentRun"]["name"] == "forked"
                metadata = {**found["metadata"], "generation": found["metadata"]["generation"] + 1}
                spec = {**found["spec"], "title": "another"}
                node.cluster._keep({**found, "metadata": metadata, "spec": spec}, "MODIFIED")

        killer.before = before
        fork(stage)
        await stage.at_work("forked")
        stage.run("behind")
        await node.finished("behind")
        stage.let()
        await stage.idle(COPY)
    assert changed
    assert stage.sent == ["forked", "behind"]
