"""The operator is killed at every single call that it makes, and another goes on: each prompt is sent once."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.support.wire import is_finished
from tests.unit.reconcile.conftest import Inside, Node, Roots, made_node
from tests.unit.reconcile.faults import Killer


async def until_killed_or_finished(node: Node, killer: Killer) -> None:
    """One operator, until it is killed or all runs have ended."""
    async with node.process(killer) as process:

        def over() -> bool:
            done = all(is_finished(o.get("status") or {}) for o in node.cluster.objects.values())
            return killer.dead.is_set() or (done and len(process.queue) == 0)

        await node.until(over, f"an operator that is killed at call {killer.at}, or is through")


def check(node: Node, told: str) -> None:
    """One prompt, one answer, nothing left."""
    uid = node.get()["metadata"]["uid"]
    assert node.prompts == [(uid, f"{uid}-1")], f"{told}: {node.prompts}"
    assert node.status()["result"]["text"] == "forty-two", f"{told}: {node.status()}"
    assert not node.agents(), told
    assert not node.fake.volumes, told


async def calls_of_one_run(roots: Roots) -> list[str]:
    """Once the images are known: whoever comes first in a session looks into them, and makes twice as many calls."""
    if not roots.facts.exists():
        async with made_node(roots) as node:
            node.run()
            await until_killed_or_finished(node, Killer())
    async with made_node(roots) as node:
        node.run()
        killer = Killer()
        await until_killed_or_finished(node, killer)
        check(node, "undisturbed")
        return killer.calls


@pytest.mark.parametrize("after", [False, True], ids=["before-its-effect", "after-its-effect"])
async def test_killed_at_any_call_the_prompt_is_sent_once(roots: Roots, after: bool) -> None:
    calls = await calls_of_one_run(roots)
    assert any("containers/create" in call for call in calls)
    assert any("/start" in call for call in calls)
    assert calls.count("put status") == 3
    for number, call in enumerate(calls, start=1):
        async with made_node(roots) as node:
            node.run()
            await until_killed_or_finished(node, killer := Killer(number, after=after))
            told = f"killed at call {number}, {call}"
            async with node.process() as process:
                await node.cleared(process)
            check(node, told)
            assert killer.dead.is_set() or number >= len(calls) - 2, told


@pytest.mark.parametrize("seed", range(12))
async def test_killed_again_and_again_the_prompt_is_sent_once(roots: Roots, seed: int) -> None:
    chance = random.Random(seed)
    async with made_node(roots) as node:
        node.run()
        told = []
        for _ in range(4):
            killer = Killer(chance.randint(1, 24), after=chance.random() < 0.5)
            told.append((killer.at, killer.after))
            await until_killed_or_finished(node, killer)
        async with node.process() as process:
            await node.cleared(process)
        check(node, f"killed at {told}")


async def test_killed_while_the_agent_is_at_work_its_answer_is_read_by_the_next(node: Node) -> None:
    go_on = asyncio.Event()

    async def agent(inside: Inside) -> None:
        await go_on.wait()
        node.answer(inside)

    node.agent = agent
    node.run()
    async with node.process():
        await node.reason("Running")
    async with node.process():
        go_on.set()
        await node.cleared()
    check(node, "adopted")


async def test_killed_once_the_container_was_started_the_next_operator_finds_it_ended(roots: Roots, node: Node) -> None:
    calls = await calls_of_one_run(roots)
    start = next(n for n, call in enumerate(calls, start=1) if call.endswith("/start"))
    node.run()
    await until_killed_or_finished(node, Killer(start, after=True))
    await node.until(lambda: all(c.status == "exited" for c in node.agents()), "the container has ended")
    assert not is_finished(node.status())
    async with node.process():
        await node.cleared()
    check(node, "away until after its end")
