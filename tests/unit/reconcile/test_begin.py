"""The start of an operator: the cluster is listed once until the first sweep is through, and what it finds is swept."""

from __future__ import annotations

import pytest

from stromboli import sweep
from tests.unit.reconcile.conftest import SPACE, Inside, Node
from tests.unit.reconcile.faults import Killer, Trouble


async def hangs(inside: Inside) -> None:
    """An agent that never ends."""


def lists(node: Node) -> int:
    """How often all runs were listed."""
    return node.cluster.asked.count(("runs",))


async def deleted_while_down(node: Node) -> str:
    """A run at work was deleted while no operator was there; its UID."""
    node.agent = hangs
    uid = str(node.run()["metadata"]["uid"])
    async with node.process():
        await node.reason("Running")
    node.cluster.delete_run(SPACE, "run")
    node.cluster.asked.clear()
    return uid


async def test_the_first_sweep_works_with_the_first_lists(node: Node) -> None:
    uid = await deleted_while_down(node)
    async with node.process() as process:
        await process.sweep.begin()
        assert node.left(uid), "that is the sweep's"
        assert await process.sweep.attempt()
        await node.until(lambda: not node.left(uid), "nothing is left")
        assert lists(node) == 1
        assert await process.sweep.attempt()
        assert lists(node) == 2, "the next one lists again"


async def test_a_node_that_could_not_be_listed_is_listed_by_the_first_sweep(node: Node) -> None:
    uid = await deleted_while_down(node)
    other = node.run("other")["metadata"]["uid"]
    trouble = Trouble()
    trouble.matching = "GET .*volumes/json"
    async with node.process(trouble=trouble) as process:
        await process.sweep.begin()
        assert other in process.store.known(), "the runs are known all the same"
        assert not await process.sweep.attempt()
        trouble.matching = None
        assert await process.sweep.attempt()
        await node.until(lambda: not node.left(uid), "nothing is left")


async def test_a_podman_that_hangs_does_not_hold_up_the_start(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "PATIENCE", 0.05)
    run = node.run()["metadata"]["uid"]
    killer = Killer(held="volumes/json")
    async with node.process(killer) as process:
        await process.sweep.begin()
        assert run in process.store.known()
        assert lists(node) == 1
        killer.go_on.set()
        assert await process.sweep.attempt()
        assert lists(node) == 2


async def test_who_came_between_the_lists_and_the_sweep_keeps_everything(node: Node) -> None:
    """The node was listed before it had anything there."""
    node.agent = hangs
    async with node.process() as process:
        await process.sweep.begin()
        uid = node.run()["metadata"]["uid"]
        await node.reason("Running")
        before = node.left(uid)
        assert await process.sweep.attempt()
        assert node.left(uid) == before
        assert not process.store.is_deleted(uid)
