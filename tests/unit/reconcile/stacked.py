"""Stacks of services on the fakes: their images, the health checks and the ports of the services, played.

Besides `Stage`, whose runs are in sessions: here a run may also have a stack of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stromboli import backoff, naming, work_queue
from stromboli.compose.typed import healthcheck
from stromboli.node.stacks import sockets, tending
from stromboli.perform.stacks import starts
from stromboli.plan import lifetime
from stromboli.plan.stack import names
from stromboli.plan.stack.ports import Listening
from tests.support.fake_podman import Command, FakeContainer, Program, program_of_command
from tests.support.mounts import Mounts
from tests.unit.reconcile.conftest import SPACE, Node, Process, Roots, made_node
from tests.unit.reconcile.faults import Killer
from tests.unit.reconcile.stage import STORY, Stage

POSTGRES, REDIS = "docker.io/library/postgres:16", "docker.io/library/redis:7"
SOON = "{test: [CMD, ready], interval: 1h, retries: 3, start_period: 1h, start_interval: 2ms}"
DATABASE = f"image: postgres:16, volumes: ['data:/var/lib/postgresql/data'], healthcheck: {SOON}"
CACHE = "image: redis:7, expose: ['6379']"
APP = "image: python:3.12, depends_on: {db: {condition: service_healthy}, cache: {condition: service_started}}"


def file(*more: str, db: str = DATABASE, cache: str = CACHE, app: str = APP, top: str = "volumes: {data: {}}") -> str:
    """A compose file with the agent's service, a database with a health check and a cache with a port."""
    services = (f"app: {{{app}}}", f"db: {{{db}}}", f"cache: {{{cache}}}", *more)
    return "\n".join(["services:", *(f"  {one}" for one in services if not one.endswith("{}")), top, ""])


def of_services(*services: str, top: str = "") -> str:
    return "\n".join(["services:", *(f"  {one}" for one in services), top, ""])


class Stacked(Stage):
    """`healthy` are the services whose checks pass, all others' fail; `listening` are the ports that are open.

    `idle` decides whether a stack that nobody uses has been idle for long enough.
    """

    def __init__(self, node: Node, patch: pytest.MonkeyPatch) -> None:
        super().__init__(node)
        self.healthy = {"db"}
        self.listening = {6379}
        self.looks = 0
        self.is_idle = False
        self.programs: dict[str, Program] = {}
        self.mounts = Mounts(patch)
        for reference in (POSTGRES, REDIS):
            node.fake.add_image(reference, root=node.fake.images[0].root, Cmd=["serve"])
        node.fake.executed = self._executed
        node.fake.program = self._program
        patch.setattr(sockets, "listening", self._listening)
        patch.setattr(lifetime, "idle_left", lambda *_: 0.0 if self.is_idle else 20.0)
        patch.setattr(healthcheck, "SHORTEST", 0.001)
        patch.setattr(tending, "PAUSE", 0.005)
        patch.setattr(work_queue, "set_within", _unless_for_long(vars(work_queue)["set_within"]))
        patch.setattr(backoff, "FIRST_DELAY", 0.005)

    def up(self, name: str = "run", text: str | None = None, *, session: str | None = None, **spec: Any) -> str:
        """Apply a run in the service `app` of such a file; its UID."""
        environment = {"type": "compose", "service": "app"} | spec.pop("environment", {})
        if session is not None:  # whose file may change, and is not in the spec
            self.node.cluster.config_maps[SPACE, session] = {"file": (text or file()).encode()}
            environment["configMapKeyRef"] = {"name": session, "key": "file"}
        elif "path" not in environment:
            environment["inline"] = text or file()
        if session is not None:
            return self.run(name, session, image=None, environment=environment, **spec)
        uid: str = self.node.run(name, image=None, environment=environment, **spec)["metadata"]["uid"]
        self.names[uid] = name
        return uid

    def services(self, uid: str | None = None) -> dict[str, FakeContainer]:
        """The containers of services by name, of this session or of all."""
        found = {}
        for one in self.node.fake.containers.values():
            if names.is_service(one.labels.get(naming.ROLE, "")) and uid in (None, one.labels[naming.OWNER]):  # type: ignore[arg-type]
                assert one.labels[naming.SERVICE] not in found, "two containers of a service"
                found[one.labels[naming.SERVICE]] = one
        return found

    def holders(self) -> list[FakeContainer]:
        return [
            one
            for one in self.node.fake.containers.values()
            if names.is_holder(one.labels.get(naming.ROLE, ""))  # type: ignore[arg-type]
        ]

    def running(self, uid: str | None = None) -> set[str]:
        return {name for name, one in self.services(uid).items() if one.status == "running"}

    def messages(self, reason: str) -> list[str]:
        return [e["message"] for e in self.node.cluster.events.values() if e["reason"] == reason]

    def left(self, uid: str) -> list[str]:
        """Everything of a session or a run that is still there."""
        found = self.node.left(uid)
        found += [f"network {name}" for name in self.node.fake.networks if uid in name]
        found += [f"image {tag}" for image in self.node.fake.images for tag in image.tags if uid in tag]
        return found

    def entries(self, session: str = STORY) -> dict[str, Any]:
        """What the session's status says of its services."""
        return {one["name"]: one for one in self.status(session).get("services", ())}

    def fail(self, service: str, code: int = 1, output: bytes = b"") -> None:
        """The service's program ends at once with this exit code."""
        self.programs[service] = Program(0.0, code, output=output)

    async def quiet(self, process: Process) -> None:
        await self.node.until(process.is_idle, "all is quiet")

    async def at_rest(self, process: Process, session: str = STORY) -> None:
        """Until all services are ready, and everything is in the status of the session."""

        def told() -> bool:
            entries = self.entries(session).values()
            return bool(entries) and all(one.get("ready") for one in entries) and "sizeBytes" in self.status(session)

        await self.node.until(told, f"{session} is at rest")
        await self.quiet(process)

    def _executed(self, container: FakeContainer, _: list[str]) -> Command:
        return Command(0 if container.labels[naming.SERVICE] in self.healthy else 1, b"not yet\n")

    def _program(self, container: FakeContainer) -> Program:
        own = self.programs.get(container.labels.get(naming.SERVICE, ""))
        return own or program_of_command(container)

    async def _listening(self, _: int) -> Listening:
        self.looks += 1
        return Listening(frozenset(self.listening))


def _unless_for_long(soon: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Whoever waits for services is woken whenever something changes, and need not look every 10 ms."""

    async def within(event: asyncio.Event, seconds: float | None) -> None:
        await (soon(event, seconds) if seconds is None or seconds < starts.RECHECK else event.wait())

    return within


async def known(roots: Roots) -> None:
    """Somebody has looked into the images, which costs a run many calls more."""
    if not roots.facts.exists():
        async with made_node(roots) as node:
            node.run()
            async with node.process():
                await node.finished()


async def over(node: Node, killer: Killer, done: Any) -> None:
    """One operator, until it is killed, or is through with its work."""
    async with node.process(killer) as process:
        await node.until(
            lambda: killer.dead.is_set() or (done() and process.is_idle()),
            f"an operator that is killed at call {killer.at}, or is through",
        )
