"""Looks after one service of a stack: its end, its health or its ports, its restarts.

How its state follows from what is seen is decided in plan/stack/. Whoever started the stack waits for changes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from stromboli.errors import NotFound, PodmanError, PodmanUnavailable, Swapped
from stromboli.node.stacks import sockets
from stromboli.plan.stack import health, ports, restarts
from stromboli.plan.stack.health import Health
from stromboli.plan.stack.order import Phase, State
from stromboli.plan.stack.ports import Ports
from stromboli.plan.stack.restarts import End, Restart
from stromboli.plan.stack.supervision import Supervision
from stromboli.podman.container_state import ContainerState
from stromboli.podman.transport import Podman
from stromboli.supervision import spawn

log = logging.getLogger(__name__)

LISTEN_EVERY = (0.05, 1.0)  # seconds between looks at the sockets: the first pause, the longest
PAUSE = 1.0  # seconds before Podman is asked again after it has failed
LINES, TAIL = 20, 2048  # of a service's output, lines and bytes that are kept with its end


@dataclass(frozen=True, slots=True)
class Ended:
    """How a service ended that should run: for the message about its restart."""

    service: str
    code: int
    output: str


@dataclass(frozen=True, slots=True)
class Duties:
    """What services are looked after with. `start` starts the container of a service again, `changed` is called when a
    state has changed, and `tell` when a service has ended and is to be started again.
    """

    podman: Podman
    start: Callable[[str], Awaitable[None]]
    changed: Callable[[], None]
    tell: Callable[[Ended], None]


class Tending:
    """One service, from its start until it is stopped. `container` is the id of its container; after `patience` seconds
    without being ready it counts as late.
    """

    def __init__(self, service: str, container: str, supervision: Supervision, patience: float, duties: Duties) -> None:
        self.service = service
        self.container = container
        self.state = State()
        self.restarts = 0
        self.started: datetime | None = None
        self.output = ""
        self._supervision = supervision
        self._patience = patience
        self._duties = duties
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Its container has been started: from now on it is looked after."""
        self.state = State(Phase.starting)
        self._task = spawn(self._look_after(), f"service {self.service} ({self.container[:12]})")

    def has_completed(self) -> None:
        """Its container has done its work before, and is not started again."""
        self.state = State(Phase.ended, ready=True)

    def has_failed(self, why: str) -> None:
        """Its container could not be started; `why` is a predicate of the service."""
        self._turn(State(Phase.failed, why=why))

    def expect(self, supervision: Supervision, patience: float) -> None:
        """What is expected of it by now; its check and its ports are those that it was created with."""
        self._supervision, self._patience = supervision, patience

    @property
    def is_at_work(self) -> bool:
        return self._task is not None and not self._task.done()

    async def close(self) -> None:
        """Stop looking; the container goes on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _look_after(self) -> None:
        crashes = 0
        while True:
            found = await self._inspected()
            if found is None:
                self._turn(replace(self.state, phase=Phase.failed, ready=False, why="has lost its container"))
                return
            if found.alive:
                found = await self._until_it_ends(found)
                if found is None:
                    continue
            said = restarts.decide(
                End(found.exit_code or 0, _lived(found), crashes),
                self._supervision.restart,
                one_shot=self._supervision.one_shot,
            )
            self.output = await self._tail()
            code = found.exit_code or 0
            if not isinstance(said, Restart):
                self._turn(State(Phase.ended, ready=code == 0, code=code, late=self.state.late))
                return
            crashes = said.crashes
            phase = Phase.failed if said.loop else Phase.restarting
            self._turn(State(phase, code=code, late=self.state.late, why=said.loop))
            self._duties.tell(Ended(self.service, code, self.output))
            await asyncio.sleep(said.after)
            await self._start_again()

    async def _start_again(self) -> None:
        try:
            await self._duties.start(self.service)
        except (PodmanError, PodmanUnavailable, Swapped) as error:
            log.warning("the service %s cannot be started again yet: %s", self.service, error)
            await asyncio.sleep(PAUSE)
        else:
            self.restarts += 1

    async def _until_it_ends(self, found: ContainerState) -> ContainerState | None:
        """Follow it while it runs; returns it once it has ended, None if that is not certain."""
        self.started = found.started_at
        watching = asyncio.create_task(self._watch(found))
        try:
            await self._duties.podman.containers.wait(self.container)
        except NotFound:
            return None
        except (PodmanError, PodmanUnavailable) as error:
            log.info("waiting for the service %s failed: %s", self.service, error)
            await asyncio.sleep(PAUSE)
            return None
        finally:
            watching.cancel()
            await asyncio.wait([watching])
        after = await self._inspected()
        return None if after is None or after.alive else after

    async def _watch(self, found: ContainerState) -> None:
        """Until it is cancelled: whether the running service is ready and healthy."""
        late = asyncio.create_task(self._be_late(found))
        try:
            if self._supervision.check is not None:
                began = time.monotonic() - _seconds_since(found.started_at)
                await self._probe(health.begin(self._supervision.check, began, time.monotonic()))
            elif self._supervision.ports:
                self._turn(State(Phase.running, late=self.state.late))
                await self._listen(found.pid, Ports(frozenset(self._supervision.ports), self._supervision.local))
            else:
                self._turn(State(Phase.running, ready=True))
        finally:
            late.cancel()

    async def _be_late(self, found: ContainerState) -> None:
        await asyncio.sleep(max(self._patience - _seconds_since(found.started_at), 0.0))
        if not self.state.ready:
            self._turn(replace(self.state, late=True))

    async def _probe(self, now: Health) -> None:
        execs = self._duties.podman.execs
        await self._cleared()
        while True:
            ready = now.status is health.Status.healthy
            self._turn(State(Phase.running, ready=ready, status=now.status, late=self.state.late and not ready))
            await asyncio.sleep(max(now.due - time.monotonic(), 0.0))
            began, passed = time.monotonic(), False
            try:
                done = await execs.run(self.container, now.check.argv, limit=now.check.timeout)
                passed = done.exit_code == 0
                if not passed:
                    self.output = done.output
            except (PodmanError, PodmanUnavailable) as error:
                log.debug("the check of the service %s could not be run: %s", self.service, error)
            now = health.step(now, began, time.monotonic(), passed=passed)

    async def _cleared(self) -> None:
        """End the checks that an operator before this one has left."""
        try:
            await self._duties.podman.execs.clear(self.container)
        except (PodmanError, PodmanUnavailable) as error:
            log.debug("earlier checks of the service %s may still run: %s", self.service, error)

    async def _listen(self, pid: int, wanted: Ports) -> None:
        pause, longest = LISTEN_EVERY
        while not wanted.ready:
            found = await sockets.listening(pid)
            if found is None:
                log.warning(
                    "the sockets of the service %s cannot be seen from here, so it counts as ready; the operator needs "
                    "the node's PID namespace (hostPID) for that",
                    self.service,
                )
                break
            wanted = ports.step(wanted, found, time.monotonic())
            if not wanted.ready:
                await asyncio.sleep(pause)
                pause = min(pause * 1.2, longest)
        self._turn(State(Phase.running, ready=True))

    async def _inspected(self) -> ContainerState | None:
        while True:
            try:
                return await self._duties.podman.containers.inspect(self.container)
            except (PodmanError, PodmanUnavailable) as error:
                log.info("the service %s cannot be looked at: %s", self.service, error)
                await asyncio.sleep(PAUSE)

    async def _tail(self) -> str:
        """The end of its output."""
        try:
            return await self._duties.podman.logs.tail(self.container, LINES, TAIL)
        except (PodmanError, PodmanUnavailable):
            return ""

    def _turn(self, state: State) -> None:
        if state != self.state:
            self.state = state
            self._duties.changed()


def _seconds_since(moment: datetime | None) -> float:
    return (datetime.now(UTC) - moment).total_seconds() if moment is not None else 0.0


def _lived(found: ContainerState) -> float:
    if found.started_at is None or found.finished_at is None:
        return 0.0
    return (found.finished_at - found.started_at).total_seconds()
