"""Named sessions, with the operator killed at its calls: hooks once a container, prompts once, turns one at a time."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from stromboli import naming
from tests.support.wire import is_finished
from tests.unit.reconcile.conftest import SPACE, Inside, Node, Roots, made_node, send
from tests.unit.reconcile.faults import Killer

HOOKS = {"onCreateCommand": ["install"], "postStart": ["begin"]}
RUNS = ("first", "second")


class Story:
    """Two runs in one session; counts what was done in which container."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.hooks: Counter[tuple[str, str]] = Counter()
        self.at_work: set[str] = set()
        node.supervisor = self.supervise

    def begin(self) -> None:
        for name in RUNS:
            self.node.run(name, session={"name": "story"}, lifecycle=HOOKS)

    async def supervise(self, inside: Inside) -> None:
        """As the supervisor does, with the hooks that the plan has."""
        if (inside.out / "started").exists():
            return inside.end(121)
        (inside.out / "started").mkdir()
        assert not self.at_work, "two runs at once in one session"
        self.at_work.add(inside.out.parent.name)
        record = "start 1.0\n"
        for hook, index in re.findall(r"^    _hook (\w+) (\d) ", (inside.plan / "steps").read_text(), re.MULTILINE):
            self.hooks[inside.container.id, hook] += 1
            record += f"begin {hook} {index} 1.0\nfinish 0 1.0\n"
        send(inside.out)
        self.node.prompts.append((inside.container.labels[naming.OWNER], inside.out.parent.name))
        self.node.answer(inside)
        (inside.out / "record").write_text(f"{record}begin agent 0 1.0\nfinish 0 2.0\nend completed 0 0 2.0\n")
        self.at_work.clear()
        return None

    def check(self, told: str) -> None:
        runs = [self.node.get(name)["metadata"]["uid"] for name in RUNS]
        session: Any = self.node.cluster.all_sessions[SPACE, "story"]
        assert self.node.prompts == [(session["metadata"]["uid"], f"{uid}-1") for uid in runs], told
        assert [self.node.status(name)["result"]["text"] for name in RUNS] == ["forty-two"] * 2, told
        [container] = self.node.agents()
        assert self.hooks == {(container.id, "onCreateCommand"): 1, (container.id, "postStart"): 2}, told
        assert session["status"]["runs"] == 2, told
        assert session["status"]["containerID"] == container.id, told
        assert session["status"]["initialized"]["imageID"] == container.image_id, told


async def through(node: Node, killer: Killer) -> None:
    """One operator, until it is killed or nothing is left to do."""
    async with node.process(killer) as process:

        def over() -> bool:
            done = all(is_finished(o.get("status") or {}) for o in node.cluster.objects.values())
            return killer.dead.is_set() or (done and len(process.queue) == 0 and idle(node))

        await node.until(over, f"an operator that is killed at call {killer.at}, or is through")


def idle(node: Node) -> bool:
    session: Any = node.cluster.all_sessions.get((SPACE, "story"))
    return bool(session) and not session["status"].get("currentRun") and bool(session["status"].get("containerID"))


async def calls_of_the_story(roots: Roots) -> list[str]:
    for _ in range(1 if roots.facts.exists() else 2):  # the first has to look into the images
        async with made_node(roots) as node:
            story = Story(node)
            story.begin()
            await through(node, killer := Killer())
            story.check("undisturbed")
    return killer.calls


@pytest.mark.parametrize("part", range(4))
async def test_killed_at_any_call_all_of_it_happens_once(roots: Roots, part: int) -> None:
    """Every call is the last of some operator: of each two, one before its effect, and one after it."""
    calls = await calls_of_the_story(roots)
    assert "create session" in calls
    for number in range(1 + part, len(calls) + 1, 4):
        async with made_node(roots) as node:
            story = Story(node)
            story.begin()
            after = bool(number // 4 % 2)
            await through(node, Killer(number, after=after))
            await through(node, Killer())
            story.check(f"killed at call {number}, {calls[number - 1]}, {'after' if after else 'before'} its effect")
