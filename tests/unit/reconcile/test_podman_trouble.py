"""Podman refuses, breaks off or is away at any call: the run says so, goes on, and its prompt is sent once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from stromboli import naming
from stromboli.errors import NoSpace, PodmanError, PodmanUnavailable, TooLittleMemory, Unmountable
from stromboli.naming import ContainerKey
from stromboli.node import networks
from stromboli.node.removals import Removals
from stromboli.podman.containers import Containers
from tests.support.fake_podman_wire import within
from tests.support.wire import is_finished, reason_of
from tests.unit.reconcile.conftest import IMAGE, SPACE, Inside, Node, Roots, made_node, policy
from tests.unit.reconcile.faults import Trouble

GONE = PodmanUnavailable("Podman did not answer: connection reset")
REFUSED = PodmanError("Podman refused: something went wrong", 500)
FULL = NoSpace("Podman refused: no space left on device", 500)


async def podman_calls(roots: Roots) -> list[str]:
    async with made_node(roots) as node:
        node.run()
        async with node.process(trouble=(trouble := Trouble())):
            await node.cleared()
        return trouble.calls


@pytest.mark.parametrize(
    ("error", "after"), [(REFUSED, False), (GONE, False), (GONE, True)], ids=["refused", "before", "after"]
)
async def test_whichever_call_fails_the_run_goes_on_and_the_prompt_is_sent_once(
    roots: Roots, error: Exception, after: bool
) -> None:
    calls = await podman_calls(roots)
    for number, call in enumerate(calls, start=1):
        async with made_node(roots) as node:
            uid = node.run()["metadata"]["uid"]
            async with node.process(trouble=Trouble(number, error, after=after)) as process:
                await node.cleared(process)
            told = f"call {number} fails, {call}: {node.status()}"
            assert node.prompts == [(uid, f"{uid}-1")], told
            assert node.status()["result"]["text"] == "forty-two", told


async def test_away_before_the_start_is_said_and_then_it_goes_on(node: Node) -> None:
    node.run()
    trouble = Trouble(error=GONE)
    trouble.matching = "."
    async with node.process(trouble=trouble):
        await node.reason("PodmanUnavailable")
        assert "goes on when Podman answers again" in node.message()
        assert not node.prompts
        trouble.matching = None
        await node.cleared()
    assert node.status()["result"]["text"] == "forty-two"


@asynccontextmanager
async def at_work_with_podman_away(node: Node, **spec: str) -> AsyncIterator[tuple[Trouble, asyncio.Event]]:
    """A run whose agent works until the event is set, and a Podman that went away meanwhile."""
    go_on, trouble = asyncio.Event(), Trouble(error=GONE)

    async def agent(inside: Inside) -> None:
        await go_on.wait()
        node.answer(inside)

    node.agent = agent
    node.run(**spec)
    async with node.process(trouble=trouble):
        await node.reason("Running")
        await node.until(lambda: any(c.endswith("/wait") for c in node.fake.calls), "the container is watched")
        trouble.matching = "."
        node.cut()
        await node.reason("PodmanUnavailable")
        yield trouble, go_on


async def test_away_while_the_agent_works_is_said_and_then_it_goes_on(node: Node) -> None:
    async with at_work_with_podman_away(node) as (trouble, go_on):
        trouble.matching = None
        await node.reason("Running")
        go_on.set()
        await node.cleared()
    assert len(node.prompts) == 1
    assert node.status()["result"]["text"] == "forty-two"


async def test_away_for_longer_than_the_timeout_the_record_on_disk_decides(node: Node) -> None:
    async with at_work_with_podman_away(node, timeout="300ms") as (_, go_on):
        go_on.set()
        await node.finished()
    assert node.status()["phase"] == "Succeeded"
    assert node.status()["result"]["text"] == "forty-two"


async def test_away_for_longer_than_the_timeout_a_run_without_a_record_ends_and_says_why(node: Node) -> None:
    async with at_work_with_podman_away(node, timeout="300ms"):
        await node.reason("TimedOut")
    assert node.message().startswith("gave up after 300ms (PodmanUnavailable): Podman did not answer")


async def test_a_full_disk_of_podmans_is_said_and_then_it_goes_on(node: Node) -> None:
    node.run()
    trouble = Trouble(error=FULL)
    trouble.matching = "POST /containers/stromboli-.*/start"
    async with node.process(trouble=trouble):
        await node.reason("NodeOutOfDisk")
        assert "no space left on device" in node.message()
        trouble.matching = None
        await node.cleared()
    assert node.status()["result"]["text"] == "forty-two"
    assert len(node.prompts) == 1


async def hangs(inside: Inside) -> None:
    """An agent that never ends."""


async def removed_by_hand(node: Node) -> None:
    async with within(node.fake.within) as somebody:
        await somebody.containers.remove(node.agents()[0].id)


async def test_a_container_removed_by_hand_is_lost(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real one's `wait` does not answer then; its events tell."""
    monkeypatch.setattr(Containers, "wait", lambda *_, **__: asyncio.Event().wait())
    node.agent = hangs
    node.run()
    async with node.process() as process:
        await node.reason("Running")
        await node.until(lambda: len(process.queue) == 0, "the run is watched")
        following = asyncio.create_task(process.removals.follow())
        await removed_by_hand(node)
        await node.reason("ContainerLost")
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert len(node.prompts) == 1
    assert "it is not sent again by itself" in node.message()
    assert node.status()["attempts"][-1]["reason"] == "ContainerLost"


async def test_a_container_removed_by_hand_that_no_event_told_of_is_found_by_the_sweep(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Containers, "wait", lambda *_, **__: asyncio.Event().wait())
    node.agent = hangs
    node.run()
    async with node.process() as process:
        await node.reason("Running")
        await node.until(lambda: len(process.queue) == 0, "the run is watched")
        await removed_by_hand(node)
        await process.sweep.once()
        await node.reason("ContainerLost")


async def test_the_events_stream_is_opened_again(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stromboli.node.removals.backoff", lambda _: 0.01)
    node.fake.fail("GET /events", None, times=2)
    gone: list[ContainerKey] = []
    async with within(node.fake.within) as podman:
        following = asyncio.create_task(Removals(podman, node.cluster.uid, gone.append).follow())
        labels = {naming.INSTALLATION: node.cluster.uid, naming.OWNER: "somebody"}
        key = naming.agent("somebody")
        for name in ("made-of-a-committed-image", key.name):
            body = {"image": IMAGE, "name": name, "labels": labels}
            await podman.containers.remove(await podman.containers.create(body))
        await node.until(lambda: key in gone, "the removal is told")
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert set(gone) == {key}, "of the container that only bears the label nothing is told"


async def test_a_container_killed_by_hand_is_lost(node: Node) -> None:
    node.agent = hangs
    node.run()
    async with node.process():
        await node.reason("Running")
        node.fake.finish(node.agents()[0], 137)
        await node.reason("ContainerLost")
        await node.cleared()
    assert len(node.prompts) == 1
    assert "exit code 137" in node.message()
    assert node.status()["attempts"][-1]["exitCode"] == 137


async def test_a_namespace_has_a_network_for_as_long_as_it_has_runs(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "FRESH", 0.0)
    node.cluster.all_policies = [policy(network="bridge")]
    node.run("a")
    async with node.process() as process:
        await node.cleared()
        await process.sweep.once()
        assert len(node.fake.networks) == 1
        node.cluster.delete_run(SPACE, "a")
        await process.sweep.once()
        assert not node.fake.networks
        node.run("b")
        await node.cleared()
    assert is_finished(node.status("b"))
    assert len(node.fake.networks) == 1


async def test_a_network_removed_by_hand_is_made_again(node: Node) -> None:
    node.cluster.all_policies = [policy(network="bridge")]
    node.run("a")
    async with node.process():
        await node.cleared()
        node.fake.networks.clear()
        node.fake.fail("POST /containers/create", 500)  # as the real one does where a network is not there
        node.run("b")
        await node.cleared()
    assert len(node.fake.networks) == 1
    assert len(node.prompts) == 2


async def test_a_network_that_a_launch_has_just_asked_for_is_not_swept(node: Node) -> None:
    node.cluster.all_policies = [policy(network="bridge")]
    node.run()
    async with node.process() as process:
        await node.cleared()
        node.cluster.delete_run(SPACE, "run")
        await process.sweep.once()
    assert len(node.fake.networks) == 1


class Misfit(Unmountable):
    """As a runtime that finds a file where a folder is to be mounted."""

    def __init__(self, message: str = "Podman refused POST /start") -> None:
        super().__init__(message, 500, "/w", "not a directory")


@pytest.mark.parametrize("session", [None, {"name": "kept"}])
@pytest.mark.parametrize(
    ("error", "said"),
    [(Misfit(), "spec.volumes[0]: "), (TooLittleMemory("Podman refused POST /start", 500), "spec.resources.memory: ")],
)
async def test_a_container_that_can_never_start_as_the_spec_has_it_ends_the_run_at_once(
    node: Node, error: Exception, said: str, session: dict[str, str] | None
) -> None:
    node.cluster.all_policies = [policy(volumes={"allowed": [{"path": str(node.folder)}]})]
    spec: dict[str, Any] = {"volumes": [f"{node.folder}:/w"], "resources": {"memory": "6Mi"}}
    node.run(**spec | ({"session": session} if session else {}))
    trouble = Trouble(error=error)
    trouble.matching = "/start"
    async with node.process(trouble=trouble):
        await node.finished()
        await node.until(lambda: not node.agents(), "its container is gone")
    assert reason_of(node.status()) == "InvalidSpec"
    assert node.message().startswith(said)
    assert len([call for call in trouble.calls if "/start" in call]) == 1
    assert not node.prompts
