"""What is inside the containers of named sessions, played: hooks that a test has fail, agents that it lets end.

Besides `Node`, whose containers belong to one run each. It asserts by itself that no session has two runs at work.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from stromboli import naming
from tests.support.builders import result_event
from tests.support.fake_cluster import Object
from tests.unit.reconcile.conftest import SPACE, Inside, Node, send

STORY = "story"


class Stage:
    """`sent` has the names of the runs whose prompts were sent, in order; `hooks` what was done in which container.

    A run of `holds` is at work until it is let go (`let`). `fails` are the hooks that fail. `counted` is the cost
    that the CLI reports, which is a conversation's, by the run's name.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self.names: dict[str, str] = {}
        self.sent: list[str] = []
        self.hooks: Counter[tuple[str, str]] = Counter()
        self.fails: set[str] = set()
        self.counted: Mapping[str, float] = {}
        self._holds: dict[str, asyncio.Event] = {}
        self._at_work: dict[str, str] = {}  # by container
        node.supervisor = self.supervise

    def run(self, name: str, session: str = STORY, **spec: Any) -> str:
        """Apply a run in a session; its UID."""
        uid: str = self.node.run(name, session={"name": session}, **spec)["metadata"]["uid"]
        self.names[uid] = name
        return uid

    def hold(self, *names: str) -> None:
        for name in names:
            self._holds[name] = asyncio.Event()

    def let(self, *names: str) -> None:
        for name in names or tuple(self._holds):
            self._holds.pop(name).set()

    async def at_work(self, name: str) -> None:
        """Until the run's prompt is sent."""
        await self.node.until(lambda: name in self.sent, f"{name} is at work")

    async def idle(self, session: str = STORY) -> Any:
        """Until all that ran in the session has left it; its status."""
        await self.node.finished()
        await self.free(session)
        return self.status(session)

    async def free(self, session: str) -> None:
        """Until no run has the session."""
        await self.node.until(lambda: "currentRun" not in self.status(session), f"no run has {session}")

    def session(self, name: str = STORY) -> Object:
        return self.node.cluster.all_sessions[SPACE, name]

    def status(self, name: str = STORY) -> Any:
        return self.session(name).get("status") or {"currentRun": "not looked at yet"}

    def conditions(self, name: str = STORY) -> dict[str, tuple[str, str]]:
        return {c["type"]: (c["status"], c["reason"]) for c in self.status(name)["conditions"]}

    def told(self, reason: str) -> list[str]:
        """Of whom there is such an event."""
        return [e["involvedObject"]["name"] for e in self.node.cluster.events.values() if e["reason"] == reason]

    async def supervise(self, inside: Inside) -> None:
        """As attempt/supervisor/."""
        if (inside.out / "started").exists():
            return inside.end(121)
        (inside.out / "started").mkdir()
        uid, _, _ = inside.out.parent.name.rpartition("-")
        name, container = self.names[uid], inside.container.id
        assert container not in self._at_work, f"{name} and {self._at_work[container]} at once in one session"
        self._at_work[container] = name
        try:
            await self._play(inside, name)
        finally:
            del self._at_work[container]
        return None

    async def _play(self, inside: Inside, name: str) -> None:
        record = "start 1.0\n"
        for hook, index in re.findall(r"^    _hook (\w+) (\d) ", (inside.plan / "steps").read_text(), re.MULTILINE):
            self.hooks[inside.container.id, hook] += 1
            code = int(hook in self.fails)
            record += f"begin {hook} {index} 1.0\nfinish {code} 1.0\n"
            if code:
                (inside.out / "record").write_text(f"{record}end failed {code} 0 2.0\n")
                return inside.end(code)
        send(inside.out)
        self.sent.append(name)
        self.node.prompts.append((inside.container.labels[naming.OWNER], inside.out.parent.name))
        if name in self._holds and not await _first(self._holds[name], inside.container.over):
            return None
        (inside.out / "stdout").write_bytes(result_event(total_cost_usd=self.counted.get(name, 0.0)))
        (inside.out / "record").write_text(f"{record}begin agent 0 1.0\nfinish 0 2.0\nend completed 0 0 2.0\n")
        return inside.end(0)


async def _first(event: asyncio.Event, other: asyncio.Event) -> bool:
    """Whether one event comes before another."""
    tasks = [asyncio.ensure_future(e.wait()) for e in (event, other)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    return event.is_set() and not other.is_set()
