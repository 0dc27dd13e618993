"""Runs that are canceled, held back and tried again, with the operator killed at each of its calls in between.

Whatever dies and whenever: no prompt is sent twice in an attempt, none after a cancel that came before the start, and
nothing is left.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from stromboli.plan import follow, retry
from tests.support.wire import is_finished, reason_of
from tests.unit.reconcile.conftest import SPACE, Inside, Node, Roots, made_node
from tests.unit.reconcile.faults import Killer

NAMED: dict[str, Any] = {"retryOn": ["AgentFailed"]}


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "CANCEL_MARGIN", 0.02)
    monkeypatch.setattr(retry, "FIRST", 0.01)
    monkeypatch.setattr("stromboli.plan.progress.FIRST_CHECK", 0.02)


class Stage:
    """A run on a node whose supervisor ends at SIGTERM as the real one does. `fails` attempts fail before one answers;
    an agent that `hangs` works until it is asked to end.
    """

    def __init__(self, node: Node, *, fails: int = 0, hangs: bool = False) -> None:
        self.node = node
        self.fails = fails
        self.hangs = hangs
        program = node.fake.program
        node.fake.program = lambda container: replace(program(container), ignores=frozenset({"TERM"}))
        node.agent = self.play

    async def play(self, inside: Inside) -> None:
        number = int(inside.out.parent.name.rpartition("-")[2])
        if not self.hangs:
            self.node.answer(inside, code=1 if number <= self.fails else 0)
            return
        while "TERM" not in inside.container.signals:  # noqa: ASYNC110 - the fake signals nothing
            await asyncio.sleep(0.001)
        (inside.out / "record").write_text("start 1.0\nbegin agent 0 1.0\nfinish 143 2.0\nend cancelled 143 0 2.0\n")
        inside.end(143)

    def change(self, **spec: object) -> None:
        self.node.cluster.change_spec(SPACE, "run", **spec)

    def reason(self) -> str:
        return reason_of(self.node.status()) if self.node.status() else ""


def nothing(stage: Stage) -> bool:
    return False


def at_work(stage: Stage) -> bool:
    """Cancel the run once its prompt was sent."""
    return bool(stage.node.prompts)


def held_back(stage: Stage) -> bool:
    return stage.reason() == "Suspended"


def between(stage: Stage) -> bool:
    return stage.reason() == "Retrying"


@dataclass(frozen=True)
class Story:
    """What is asked of a run once `when` is true, how its agent plays, how it ends, and how many prompts were sent."""

    spec: dict[str, Any]
    ends: str
    prompts: int
    when: Callable[[Stage], bool] = nothing
    asked: dict[str, Any] | None = None
    fails: int = 0
    hangs: bool = False


STORIES = {
    "canceled-at-work": Story({}, "Canceled", 1, at_work, {"cancel": True}, hangs=True),
    "canceled-between-attempts": Story(NAMED, "Canceled", 1, between, {"cancel": True}, fails=9),
    "held-back-and-let-go": Story({"suspend": True}, "Completed", 1, held_back, {"suspend": False}),
    "held-back-and-canceled": Story({"suspend": True}, "Canceled", 0, held_back, {"cancel": True}),
    "tried-twice-again": Story(NAMED, "Completed", 3, fails=2),
    "canceled-before": Story({"cancel": True}, "Canceled", 0),
}


async def through(stage: Stage, story: Story, killer: Killer) -> None:
    """One operator, until it is killed or the run has ended."""
    async with stage.node.process(killer) as process:

        def over() -> bool:
            if story.asked is not None and story.when(stage):
                known = stage.node.get()["spec"]
                if any(known.get(name) != value for name, value in story.asked.items()):
                    stage.change(**story.asked)
            return killer.dead.is_set() or (is_finished(stage.node.status()) and len(process.queue) == 0)

        await stage.node.until(over, f"an operator that is killed at call {killer.at}, or is through")


def check(stage: Stage, story: Story, told: str) -> None:
    node = stage.node
    uid = node.get()["metadata"]["uid"]
    assert reason_of(node.status()) == story.ends, f"{told}: {node.status()}"
    assert len(node.prompts) == len(set(node.prompts)) == story.prompts, f"{told}: {node.prompts}"
    assert "nextAttemptTime" not in node.status(), told
    assert [left for left in node.left(uid) if left.startswith(("container", "volume"))] == [], told


async def lived(roots: Roots, story: Story, killer: Killer, told: str = "undisturbed") -> list[str]:
    async with made_node(roots) as node:
        stage = Stage(node, fails=story.fails, hangs=story.hangs)
        node.run(**story.spec)
        await through(stage, story, killer)
        if killer.at is not None:
            await through(stage, story, Killer())
        async with node.process() as process:
            await node.cleared(process)
        check(stage, story, told)
    return killer.calls


@pytest.mark.parametrize("name", STORIES)
async def test_killed_at_any_call(roots: Roots, name: str) -> None:
    """Of each two calls, one before its effect, and one after it."""
    story = STORIES[name]
    await lived(roots, story, Killer())  # the images are known from here on
    calls = await lived(roots, story, Killer())
    for number in range(1, len(calls) + 1):
        after = bool(number % 2)
        told = f"killed at call {number}, {calls[number - 1]}, {'after' if after else 'before'} its effect"
        await lived(roots, story, Killer(number, after=after), told)


@pytest.mark.parametrize("dies", [False, True], ids=["that-goes-on", "that-dies-then"])
async def test_canceled_at_any_call(roots: Roots, dies: bool) -> None:
    """Of an operator that goes on, or is killed at that moment. What had not been started by then never is."""
    story = Story({}, "Completed", 1)
    await lived(roots, story, Killer())
    calls = await lived(roots, story, Killer())
    for number in range(1, len(calls) + 1):
        told = f"canceled at call {number}, {calls[number - 1]}"
        async with made_node(roots) as node:
            stage = Stage(node, hangs=True)
            node.run()
            killer = Killer(number if dies else None)
            killer.before = lambda n, stage=stage, number=number: stage.change(cancel=True) if n == number else None  # type: ignore[misc]
            async with node.process(killer) as process:
                canceled = lambda node=node: node.get()["spec"].get("cancel") is True  # noqa: E731
                await node.until(
                    lambda killer=killer, process=process, canceled=canceled: (
                        canceled()  # type: ignore[misc]
                        and (killer.dead.is_set() or len(process.queue) == 0)
                    ),
                    told,
                )
            started = any(call.endswith("/start") for call in killer.calls[: number + 1])
            async with node.process() as process:
                await node.cleared(process)
            assert reason_of(node.status()) == "Canceled", f"{told}: {node.status()}"
            assert len(node.prompts) <= (1 if started else 0), f"{told}: {node.prompts}"


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["tried-twice-again", "canceled-at-work"])
async def test_killed_again_and_again(roots: Roots, name: str, seed: int) -> None:
    chance, story = random.Random(seed), STORIES[name]
    async with made_node(roots) as node:
        stage = Stage(node, fails=story.fails, hangs=story.hangs)
        node.run(**story.spec)
        told = []
        for _ in range(5):
            killer = Killer(chance.randint(1, 30), after=chance.random() < 0.5)
            told.append((killer.at, killer.after))
            await through(stage, story, killer)
        await through(stage, story, Killer())
        async with node.process() as process:
            await node.cleared(process)
        check(stage, story, f"killed at {told}")
