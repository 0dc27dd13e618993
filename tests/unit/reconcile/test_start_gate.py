"""The start gate on a node: its bounds hold, namespaces take turns, places are told once, and nothing is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stromboli.perform.launch import Launcher
from stromboli.reconcile import Reconciler
from tests.support.wire import is_finished, reason_of
from tests.unit.reconcile.conftest import SPACE, Inside, Node
from tests.unit.reconcile.faults import Killer

SPACES = ("a", "b", "c")
EACH = 12
STARTS = 3


class Starts:
    """How many starts go on, and in which order the namespaces of the runs came."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.most = 0
        self.order: list[str] = []
        original = Launcher.launch

        async def launch(launcher: Launcher, subject: Any, *rest: Any) -> str:
            self.now += 1
            self.most = max(self.most, self.now)
            self.order.append(subject.namespace)
            try:
                return await original(launcher, subject, *rest)
            finally:
                self.now -= 1

        monkeypatch.setattr(Launcher, "launch", launch)


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Starts:
    return Starts(monkeypatch)


@pytest.fixture
def gated(node: Node) -> Node:
    node.settings = node.settings.model_copy(update={"max_starts": STARTS})
    return node


def apply(node: Node, namespace: str, count: int) -> None:
    for number in range(count):
        node.cluster.add_run(namespace, f"run-{number:03}", {"prompt": "answer", "image": "python:3.12"})


def ended(node: Node) -> list[str]:
    return [str(reason_of(o["status"])) for o in node.cluster.objects.values() if is_finished(o.get("status") or {})]


def queued_writes(node: Node) -> list[str]:
    return [w for w in node.cluster.writes if w.startswith("status ") and w.endswith(" Queued")]


async def test_the_bound_holds_namespaces_take_turns_and_each_is_told_once(gated: Node, starts: Starts) -> None:
    for namespace in SPACES:
        apply(gated, namespace, EACH)
    async with gated.process():
        await gated.until(lambda: len(ended(gated)) == len(SPACES) * EACH, "all have ended")
    assert set(ended(gated)) == {"Completed"}
    assert starts.most == STARTS
    assert len(gated.prompts) == len(set(gated.prompts)) == len(SPACES) * EACH
    told = queued_writes(gated)
    assert len(told) == len(set(told)) <= len(SPACES) * EACH - STARTS
    # The first of all find nobody before them. Whoever is let in looks around once more before the start, so that
    # two may overtake each other; and in the end, some namespaces have nobody left.
    late = starts.order[2 * STARTS : -3 * STARTS]
    for end in range(len(late)):
        counts = [late[:end].count(namespace) for namespace in SPACES]
        assert max(counts) - min(counts) <= STARTS, late[:end]


async def test_one_run_does_not_wait_for_the_many_of_another_namespace(gated: Node, starts: Starts) -> None:
    apply(gated, "many", 3 * EACH)
    async with gated.process():
        await gated.until(lambda: len(queued_writes(gated)) >= EACH, "many stand in line")
        apply(gated, "one", 1)
        await gated.until(lambda: "one" in starts.order, "the one of the other namespace starts")
        behind = 3 * EACH + 1 - len(starts.order)
        await gated.until(lambda: len(ended(gated)) == 3 * EACH + 1, "all have ended")
    assert behind > EACH, "it did not wait for its place among all"


async def have_started(node: Node, count: int) -> None:
    await node.until(lambda: len(node.prompts) >= count, f"{count} have started")


async def test_nothing_is_lost_and_nobody_starts_twice_over_two_restarts(gated: Node, starts: Starts) -> None:
    for namespace in SPACES:
        apply(gated, namespace, EACH)
    for part in (1, 2):
        killer = Killer()
        async with gated.process(killer):
            await have_started(gated, part * len(SPACES) * EACH // 3)
            killer.dead.set()
            await asyncio.sleep(0)
        starts.now = 0
    told = len(queued_writes(gated))
    async with gated.process() as process:
        await process.sweep.begin()
        await gated.until(lambda: len(ended(gated)) == len(SPACES) * EACH, "all have ended")
    assert set(ended(gated)) == {"Completed"}
    assert len(gated.prompts) == len(set(gated.prompts)) == len(SPACES) * EACH
    assert len(queued_writes(gated)) == told, "who stood in line is not told again"


async def test_after_a_restart_the_line_is_as_it_was(gated: Node, starts: Starts) -> None:
    """Whose turn comes is read from the statuses, whatever is applied or looked at first."""
    gated.settings = gated.settings.model_copy(update={"max_starts": 1, "max_runs": 1})
    gated.agent = hangs
    apply(gated, SPACE, 5)
    async with gated.process():
        await gated.until(lambda: len(queued_writes(gated)) == 4 and bool(gated.prompts), "four stand in line")
    line = sorted(
        (o["status"]["startTime"], name)
        for (_, name), o in gated.cluster.objects.items()
        if reason_of(o["status"]) == "Queued"
    )
    gated.cluster.add_run(SPACE, "a-newcomer", {"prompt": "answer", "image": "python:3.12"})
    async with gated.process() as process:
        await process.sweep.begin()
        await gated.until(lambda: reason_of(gated.status("a-newcomer")) == "Queued", "the newcomer stands in line")
        assert "place 5 in the line" in gated.message("a-newcomer")
        started = [name for name in gated.status_names() if gated.status(name).get("attempts")]
        assert len(started) == 1
        gated.cluster.delete_run(SPACE, started[0])
        await gated.until(lambda: bool(gated.status(line[0][1]).get("attempts")), "the first of the line starts")


async def test_after_a_restart_the_line_stands_before_anybody_of_it_is_looked_at(
    gated: Node, starts: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The survey puts all of it back, so that the second is not let in because its turn comes before the first's."""
    gated.settings = gated.settings.model_copy(update={"max_starts": 1, "max_runs": 1})
    gated.agent = hangs
    apply(gated, SPACE, 3)
    async with gated.process():
        await gated.until(lambda: len(queued_writes(gated)) == 2 and bool(gated.prompts), "two stand in line")
    first, second = sorted(
        (o for o in gated.cluster.objects.values() if reason_of(o["status"]) == "Queued"),
        key=lambda o: str(o["status"]["startTime"]),
    )
    surveyed, go_on, looked_at = asyncio.Event(), asyncio.Event(), set()
    original = Reconciler.reconcile

    async def reconcile(reconciler: Reconciler, uid: str) -> float | None:
        await surveyed.wait()
        if uid == first["metadata"]["uid"]:
            await go_on.wait()
        delay = await original(reconciler, uid)
        looked_at.add(uid)
        return delay

    monkeypatch.setattr(Reconciler, "reconcile", reconcile)
    for container in gated.agents():  # while no operator is there, the one that is at work ends
        gated.fake.finish(container, 137)
    async with gated.process() as process:
        await process.sweep.begin()
        surveyed.set()
        await gated.until(lambda: len(ended(gated)) == 1, "that is seen")
        looked_at.clear()
        process.queue.wake(second["metadata"]["uid"])
        await gated.until(lambda: second["metadata"]["uid"] in looked_at, "the second is looked at")
        assert len(gated.prompts) == 1, "it stays behind the first"
        go_on.set()
        await gated.until(lambda: len(gated.prompts) == 2, "the first is let in")
    assert [uid for uid, _ in gated.prompts][1:] == [first["metadata"]["uid"]]


async def test_as_many_are_at_work_as_may_be(gated: Node, starts: Starts) -> None:
    gated.settings = gated.settings.model_copy(update={"max_runs": 2})
    gated.agent = hangs
    apply(gated, SPACE, 4)
    async with gated.process() as process:
        await gated.until(lambda: len(queued_writes(gated)) == len(gated.prompts) == 2, "two wait")
        await process.sweep.begin()
        assert "and at most 2 are at work" in "".join(
            gated.message(name) for name in gated.status_names() if reason_of(gated.status(name)) == "Queued"
        )
        for container in gated.agents():
            gated.fake.finish(container, 137)
        await gated.until(lambda: len(gated.prompts) == 4, "the others follow")


async def test_a_run_that_waits_for_something_else_takes_no_place(gated: Node, starts: Starts) -> None:
    gated.settings = gated.settings.model_copy(update={"max_starts": 1})
    missing = {"configMapKeyRef": {"name": "prompts", "key": "one"}}
    gated.cluster.add_run(SPACE, "waits", {"promptFrom": missing, "image": "python:3.12"})
    apply(gated, SPACE, 5)
    async with gated.process():
        await gated.until(lambda: len(ended(gated)) == 5, "the others have ended")
        assert reason_of(gated.status("waits")) == "WaitingForReference"
        gated.cluster.config_maps[SPACE, "prompts"] = {"one": b"answer"}
        await gated.finished("waits")


async def test_what_waits_in_line_may_be_deleted(gated: Node, starts: Starts) -> None:
    gated.settings = gated.settings.model_copy(update={"max_starts": 1, "max_runs": 1})
    gated.agent = hangs
    apply(gated, SPACE, 3)
    async with gated.process():
        await gated.until(lambda: len(queued_writes(gated)) == 2 and bool(gated.prompts), "two wait")
        waiting = [name for name in gated.status_names() if reason_of(gated.status(name)) == "Queued"]
        first = min(waiting, key=lambda name: gated.status(name)["startTime"])
        gated.cluster.delete_run(SPACE, first)
        working = next(name for name in gated.status_names() if name not in waiting)
        gated.cluster.delete_run(SPACE, working)
        (last,) = set(waiting) - {first}
        await gated.until(lambda: bool(gated.status(last).get("attempts")), "the last one starts")


async def test_a_run_that_another_operator_finishes_leaves_the_line(gated: Node) -> None:
    gated.settings = gated.settings.model_copy(update={"max_starts": 1})
    killer = Killer(held="/start$")
    gated.run("first")
    async with gated.process(killer):
        await gated.until(lambda: any(call.endswith("/start") for call in killer.calls), "the first is let in")
        gated.run("lost")
        await gated.reason("Queued", "lost")
        done = {"type": "Succeeded", "status": "True", "reason": "Completed"}
        gated.cluster.change(SPACE, "lost", lambda obj: obj.update(status={"node": "another", "conditions": [done]}))
        gated.run("next")
        await gated.reason("Queued", "next")
        killer.go_on.set()
        await gated.finished("next")
    assert gated.status("lost")["node"] == "another"


async def hangs(inside: Inside) -> None:
    """An agent that never ends."""
