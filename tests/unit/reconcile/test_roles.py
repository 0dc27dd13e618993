"""A session with a second container, in another role: it stays and goes with the session, whatever its agents do."""

from __future__ import annotations

import pytest

from stromboli import naming
from stromboli.attempt.site import Site
from stromboli.naming import ContainerKey, Role
from stromboli.node.cleanup import Cleaner
from stromboli.node.serial import SessionLocks
from tests.support.fake_podman_wire import within
from tests.unit.reconcile.conftest import IMAGE, SPACE, Inside, Node
from tests.unit.reconcile.stage import STORY, Stage

SERVICE = Role("service.db")


async def hangs(inside: Inside) -> None:
    """An agent that never ends."""


async def beside(node: Node, uid: str, role: Role = SERVICE) -> str:
    """Start a container of a session in another role; its name."""
    key = ContainerKey(uid, role)
    labels = Site(node.home(), node.settings.runtime_dir, node.cluster.uid).labels(key, "space/any")
    async with within(node.fake.within) as podman:
        await podman.containers.create({"name": key.name, "image": IMAGE, "labels": labels})
        await podman.containers.start(key.name)
    return key.name


def status_of(node: Node, name: str) -> str:
    return next((c.status for c in node.fake.containers.values() if c.name == name), "gone")


async def removed_by_hand(node: Node, name: str) -> None:
    """As `podman rm --force` of this container."""
    [container] = [c for c in node.fake.containers.values() if c.name == name]
    del node.fake.containers[container.id]
    await node.fake.happen(container, "remove")


async def test_it_is_removed_by_the_sweep_after_its_run_has_ended(node: Node) -> None:
    """At the run's end, its containers are found by name: by the roles that the operator itself starts."""
    uid = node.run()["metadata"]["uid"]
    service = await beside(node, uid)
    async with node.process() as process:
        await node.cleared()
        assert status_of(node, service) == "running"
        await process.sweep.once()
        assert node.left(uid) == [f"sessions/{uid}"]
    assert status_of(node, service) == "gone"


@pytest.mark.parametrize("role", naming.ROLES)
async def test_at_a_run_s_end_its_containers_of_every_role_are_found_without_a_list(node: Node, role: Role) -> None:
    uid = node.run()["metadata"]["uid"]
    async with node.process():
        await node.cleared()
        await node.until(lambda: node.left(uid) == [f"sessions/{uid}"], "its folder alone is left")
        other = await beside(node, uid, role)
        node.fake.calls.clear()
        async with within(node.fake.within) as podman:
            site = Site(node.home(), node.settings.runtime_dir, node.cluster.uid)
            await Cleaner(podman, site, SessionLocks()).finished(uid)
    assert status_of(node, other) == "gone"
    assert not [call for call in node.fake.calls if "/containers/json" in call]


async def test_it_is_removed_with_a_run_that_is_deleted_at_work(node: Node) -> None:
    node.agent = hangs
    uid = node.run()["metadata"]["uid"]
    async with node.process():
        await node.reason("Running")
        await beside(node, uid)
        node.cluster.delete_run(SPACE, "run")
        await node.until(lambda: not node.left(uid), "nothing is left")


async def test_it_alone_is_found_by_the_sweep_after_its_run_was_deleted(node: Node) -> None:
    uid = node.run()["metadata"]["uid"]
    node.cluster.delete_run(SPACE, "run")
    service = await beside(node, uid)
    async with node.process() as process:
        await process.sweep.once()
        await node.until(lambda: status_of(node, service) == "gone", "it is removed")


async def test_it_alone_is_found_by_the_sweep_after_its_run_has_ended(node: Node) -> None:
    uid = node.run()["metadata"]["uid"]
    async with node.process() as process:
        await node.cleared()
        await node.until(lambda: node.left(uid) == [f"sessions/{uid}"], "its folder alone is left")
        service = await beside(node, uid)
        await process.sweep.once()
        assert status_of(node, service) == "gone"


async def test_it_goes_even_if_podman_cannot_remove_the_agent_s(node: Node) -> None:
    node.agent = hangs
    uid = node.run()["metadata"]["uid"]
    async with node.process():
        await node.reason("Running")
        [agent] = node.agents()
        service = await beside(node, uid)
        node.fake.fail(f"DELETE /containers/{agent.id}", 500, times=10**6)
        node.cluster.delete_run(SPACE, "run")
        await node.until(lambda: status_of(node, service) == "gone", "it is removed")
        assert status_of(node, agent.name) != "gone"
        node.fake.failures.clear()
        await node.until(lambda: not node.left(uid), "nothing is left")


@pytest.mark.parametrize("how", ["ends", "is removed"])
async def test_its_end_is_not_the_agent_s(node: Node, how: str) -> None:
    node.agent = hangs
    uid = node.run()["metadata"]["uid"]
    async with node.process() as process:
        await node.reason("Running")
        service = await beside(node, uid)
        if how == "ends":
            node.fake.finish(next(c for c in node.fake.containers.values() if c.name == service), 1)
        else:
            await removed_by_hand(node, service)
        process.queue.wake(uid)
        await node.until(lambda: len(process.queue) == 0, "the run was looked at")
        assert node.status()["phase"] == "Running"
        node.fake.finish(node.agents()[0], 137)
        await node.reason("ContainerLost")


async def test_another_attempt_of_its_run_leaves_it(node: Node) -> None:
    """The first attempt never sent its prompt: the next begins without its container."""
    cut = iter([True, False])

    async def supervisor(inside: Inside) -> None:
        if next(cut):
            (inside.out / "started").mkdir()
            inside.end(137)
        else:
            assert status_of(node, service) == "running"
            await node.supervise(inside)

    node.supervisor = supervisor
    uid = node.run()["metadata"]["uid"]
    service = await beside(node, uid)
    async with node.process():
        await node.cleared()
    assert node.prompts == [(uid, f"{uid}-2")]


async def test_it_stays_between_the_runs_of_its_session_and_goes_with_it(node: Node) -> None:
    stage = Stage(node)
    stage.run("first")
    async with node.process() as process:
        await stage.idle()
        uid = stage.session()["metadata"]["uid"]
        service = await beside(node, uid)
        stage.run("second")
        await stage.idle()
        await process.sweep.once()
        assert status_of(node, service) == "running"
        assert len(node.agents()) == 1
        await removed_by_hand(node, naming.agent(uid).name)
        stage.run("third")
        await stage.idle()
        assert status_of(node, service) == "running"
        assert stage.sent == ["first", "second", "third"]
        await node.cluster.delete_session(SPACE, STORY)
        await node.until(lambda: not node.left(uid), "nothing is left")
