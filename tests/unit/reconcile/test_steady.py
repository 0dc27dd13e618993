"""What has been done is not done again, and what has ended stays as it ended."""

from __future__ import annotations

from typing import Any

import pytest

from stromboli.errors import ClusterUnavailable
from stromboli.kube import objects
from tests.support.fake_cluster import Object
from tests.support.wire import reason_of
from tests.unit.reconcile.conftest import SPACE, Inside, Node, policy


async def hangs(inside: Inside) -> None:
    """An agent that never ends."""


def asked_to_write(node: Node) -> int:
    """Calls that write, those that would change nothing included."""
    return sum(what[0] in ("put status", "post event") for what in node.cluster.asked)


@pytest.mark.parametrize(
    ("after", "said"), [(0.0, ["Starting", "Running", "Completed"]), (60.0, ["Starting", "Completed"])]
)
async def test_a_simple_run_takes_few_writes(
    node: Node, monkeypatch: pytest.MonkeyPatch, after: float, said: list[str]
) -> None:
    """One that is over before it is said to be at work takes one less."""
    monkeypatch.setattr("stromboli.plan.follow.AT_WORK_AFTER", after)
    node.run()
    async with node.process():
        await node.cleared()
    told = [f"status {SPACE}/run {reason}" for reason in said]
    assert [w for w in node.cluster.writes if w.startswith("status")] == told
    assert sorted(w for w in node.cluster.writes if w.startswith("event")) == ["event Completed", "event Started"]
    assert asked_to_write(node) == len(said) + 2


async def test_passes_at_work_change_nothing(node: Node) -> None:
    node.agent = hangs
    uid = node.run()["metadata"]["uid"]
    async with node.process() as process:
        await node.reason("Running")
        await node.until(lambda: len(process.queue) == 0, "the queue is empty")
        version, writes = node.get()["metadata"]["resourceVersion"], asked_to_write(node)
        for _ in range(5):
            process.queue.wake(uid)
            await node.until(lambda: len(process.queue) == 0, "the queue is empty")
            await process.sweep.once()
    assert node.get()["metadata"]["resourceVersion"] == version
    assert asked_to_write(node) == writes
    assert len(node.fake.calls) == len([c for c in node.fake.calls if "/start" not in c]) + 1


async def test_podman_is_not_asked_what_its_host_is_where_the_agent_is_root(node: Node) -> None:
    """It takes Podman 0.2 s, just when the first run after a start waits for it."""
    node.run()
    async with node.process():
        await node.cleared()
    assert node.status()["phase"] == "Succeeded"
    assert "GET /info" not in node.fake.calls


@pytest.mark.parametrize(("cgroups", "warnings"), [("v1", 1), ("v2", 0)])
async def test_limits_that_the_node_cannot_enforce_are_said(node: Node, cgroups: str, warnings: int) -> None:
    node.fake.rootless, node.fake.cgroup_version = True, cgroups
    node.run(resources={"memory": "512Mi"})
    async with node.process():
        await node.cleared()
    assert node.status()["phase"] == "Succeeded"
    told = [e for e in node.cluster.events.values() if e["reason"] == "LimitsNotEnforced"]
    assert len(told) == warnings
    assert all(e["type"] == "Warning" and "cannot enforce resources memory" in e["message"] for e in told)


@pytest.mark.parametrize(
    ("spec", "policy_spec", "reason"),
    [
        ({"promptFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}, "prompt": None}, {}, "WaitingForReference"),
        ({}, {"credentials": {"secretRef": {"name": "missing"}}}, "WaitingForReference"),
        ({}, {"cli": {"image": "localhost/none", "tag": "1", "pull": "Never"}}, "CLIImageUnavailable"),
    ],
)
async def test_waiting_passes_change_nothing(
    node: Node, spec: dict[str, Any], policy_spec: dict[str, Any], reason: str
) -> None:
    node.cluster.all_policies = [policy(**policy_spec)]
    made = {k: v for k, v in {"prompt": "answer", "image": "python:3.12", **spec}.items() if v is not None}
    uid = node.cluster.add_run(SPACE, "run", made)["metadata"]["uid"]
    async with node.process() as process:
        await node.reason(reason)
        await node.until(lambda: asked_to_write(node) >= 2, "its state and its event are written")
        version, writes = node.get()["metadata"]["resourceVersion"], asked_to_write(node)
        for _ in range(20):
            process.queue.wake(uid)
            await process.sweep.once()
        assert node.get()["metadata"]["resourceVersion"] == version
        assert asked_to_write(node) == writes


async def finished(node: Node, **spec: Any) -> Object:
    node.run(**spec)
    async with node.process() as process:
        await node.cleared()
        await node.until(lambda: len(process.queue) == 0, "the queue is empty")
    return node.get()


@pytest.mark.parametrize("spec", [{}, {"workdir": "relative"}], ids=["completed", "refused"])
async def test_a_run_that_has_ended_never_changes(node: Node, spec: dict[str, Any]) -> None:
    ended = await finished(node, **spec)
    assert reason_of(ended["status"]) == ("InvalidSpec" if spec else "Completed")
    sent = list(node.prompts)
    async with node.process() as process:
        touched = node.cluster.change(SPACE, "run", lambda obj: obj["metadata"].update(labels={"touched": "yes"}))
        process.queue.wake(ended["metadata"]["uid"])
        process.store.put(objects.run({**ended, "status": {}}))
        process.queue.wake(ended["metadata"]["uid"])
        node.cluster.all_policies = []
        process.queue.wake_all()
        await process.sweep.once()
        await node.until(lambda: len(process.queue) == 0, "the queue is empty")
    assert node.get() == touched
    assert node.get()["status"] == ended["status"]
    assert node.prompts == sent


async def test_a_run_that_has_ended_is_not_worked_on_even_if_it_is_asked_for(node: Node) -> None:
    ended = await finished(node)
    async with node.process() as process:
        await node.until(lambda: len(process.queue) == 0, "it has been looked at once")
        process.store._objects[ended["metadata"]["uid"]] = objects.run(ended)
        asked = len(node.cluster.asked)
        process.queue.wake(ended["metadata"]["uid"])
        await node.until(lambda: len(process.queue) == 0, "the queue is empty")
        assert len(node.cluster.asked) == asked
    assert node.get() == ended


async def test_a_write_that_loses_a_race_is_done_on_what_is_there_now(node: Node) -> None:
    node.agent = hangs
    uid = node.run()["metadata"]["uid"]
    async with node.process() as process:
        await node.reason("Running")
        await node.until(lambda: len(process.queue) == 0, "the queue is empty")
        listeners, node.cluster.listeners = node.cluster.listeners, []  # the watch lags behind
        node.cluster.change(SPACE, "run", lambda obj: obj["metadata"].update(annotations={"by": "hand"}))
        node.cluster.listeners = listeners
        node.fake.finish(node.agents()[0], 137)
        await node.reason("ContainerLost")
        assert uid == node.get()["metadata"]["uid"]
        assert node.get()["metadata"]["annotations"] == {"by": "hand"}


async def test_an_api_server_that_is_away_is_waited_for_at_every_step(node: Node) -> None:
    node.agent = hangs
    node.run()
    async with node.process():
        await node.reason("Running")
        node.cluster.away = True
        node.fake.finish(node.agents()[0], 137)
        assert reason_of(node.status()) == "Running"
        node.cluster.away = False
        await node.reason("ContainerLost")


async def test_a_secret_that_may_not_be_read_is_said(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    async def forbidden(*_: object) -> None:
        raise ClusterUnavailable("the API server: secrets is forbidden")

    node.run()
    async with node.process():
        with monkeypatch.context() as closed:
            closed.setattr(node.cluster, "secret_data", forbidden)
            await node.reason("WaitingForReference")
            assert "secrets is forbidden" in node.message()
        await node.cleared()
    assert len(node.prompts) == 1


async def test_a_policy_kind_that_is_not_served_is_not_asked_in_a_hurry(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    async def missing() -> list[Object]:
        nonlocal asked
        asked += 1
        raise ClusterUnavailable("the API server: not found")

    monkeypatch.setattr(node.cluster, "policies", missing)
    node.run()
    async with node.process():
        await node.reason("WaitingForReference")
    assert asked < 10
    assert not node.prompts
