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

from stromboli.errors import NoSpace, NotFound, PodmanError, PodmanUnavailable, Swapped
from stromboli.node.stacks import sockets
from stromboli.plan.stack import readiness, restarts
from stromboli.plan.stack.health import Check
from stromboli.plan.stack.order import Phase, State
from stromboli.plan.stack.ports import Listening
from stromboli.plan.stack.readiness import Watch
from stromboli.plan.stack.restarts import End, Restart
from stromboli.plan.stack.supervision import Supervision
from stromboli.podman.container_state import ContainerState
from stromboli.podman.transport import Podman
from stromboli.supervision import spawn

log = logging.getLogger(__name__)

PAUSE = 1.0  # seconds before Podman is asked again after it has failed
BLIND = 2.0  # seconds within which Podman knows that a process has ended, and its end has been handled
LINES, TAIL = 20, 2048  # of a service's output, lines and bytes that are kept with its end


@dataclass(frozen=True, slots=True)
class Ended:
    """How a service ended that should run: for the message about its restart."""

    service: str
    code: int
    output: str


@dataclass(frozen=True, slots=True)
class Duties:
    """What services are looked after with. `start` starts the container of a service again, `note` remembers that a
    container has done its work, `changed` is called when a state has changed, and `tell` when a service has ended and
    is to be started again.
    """

    podman: Podman
    note: Callable[[str], Awaitable[None]]
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
        self._waited_since: float | None = None  # of the monotonic clock: the first start since it was ready
        self._duties = duties
        self._task: asyncio.Task[None] | None = None
        self._proven = False  # it was ready once
        self.is_wanted_again = False  # it has ended, and the next start of the stack starts it
        self._blind: float | None = None  # since when its sockets could not be read

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

    async def last_words(self) -> str:
        """The end of the output of its failed check, or of its own."""
        return self.output or await self._tail()

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
            if self.state.ready:
                self._waited_since = None
            said = restarts.decide(
                End(found.exit_code or 0, _lived(found), crashes),
                self._supervision.restart,
                one_shot=self._supervision.one_shot,
                serves=self._supervision.serves and self._proven,
            )
            self.output = await self._tail()
            code = found.exit_code or 0
            if not isinstance(said, Restart):
                if said.completed:
                    await self._noted()
                self.is_wanted_again = code == 0 and not said.completed
                self._turn(State(Phase.ended, ready=code == 0, code=code, late=self.state.late))
                return
            crashes = said.crashes
            phase = Phase.failed if said.loop else Phase.restarting
            unproven = not self._proven and not restarts.is_asked_for(self._supervision.restart)
            self._turn(State(phase, code=code, late=self.state.late, why=said.loop, unproven=unproven))
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

    async def _noted(self) -> None:
        """Remember that it has done its work. If that is impossible, the next start of the stack runs it again."""
        try:
            await self._duties.note(self.container)
        except (NoSpace, OSError) as error:
            log.warning("it cannot be remembered that the service %s has done its work: %s", self.service, error)

    async def _until_it_ends(self, found: ContainerState) -> ContainerState | None:
        """Follow it while it runs; returns it once it has ended, None if that is not certain."""
        self.started = found.started_at
        watching = spawn(self._watch(found), f"service {self.service}, whether it is ready")
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
        now = time.monotonic()
        started = now - _seconds_since(found.started_at)
        watch = readiness.begin(self._supervision, started, now, local=self._supervision.local)
        self._blind = None
        if self._waited_since is None:
            self._waited_since = started
        if watch.health is not None:
            await self._cleared()
        while True:
            late = self._waited_since + self._patience  # whoever waits for it has waited since then
            state = readiness.state(watch, time.monotonic(), late - started)
            self._turn(state)
            moments = [watch.due, None if state.late or state.ready else late]
            due = min((moment for moment in moments if moment is not None), default=None)
            if due is None:
                return
            await asyncio.sleep(max(due - time.monotonic(), 0.0))
            if watch.due is not None and watch.due <= time.monotonic():
                watch = await self._next(watch, found.pid)

    async def _next(self, watch: Watch, pid: int) -> Watch:
        """The watch after the next probe of its check, or the next look at its ports."""
        if watch.health is not None:
            began = time.monotonic()
            passed = await self._passes(watch.health.check)
            return readiness.probed(watch, began, time.monotonic(), passed=passed)
        listening = await sockets.listening(pid)
        if listening is not None:
            self._blind = None
        else:
            self._blind = time.monotonic() if self._blind is None else self._blind
            listening = await self._unseen(pid, time.monotonic() - self._blind)
        return readiness.looked(watch, listening, time.monotonic())

    async def _unseen(self, pid: int, since: float) -> Listening:
        """What its sockets count as, which could not be read for `since` seconds. At first, it may just have ended."""
        found = await self._inspected() if since >= BLIND else None
        if found is None or not found.alive or found.pid != pid:
            return Listening()
        log.warning(
            "the sockets of the service %s cannot be seen from here, so it counts as ready; the operator needs the "
            "node's PID namespace (hostPID) for that",
            self.service,
        )
        return Listening(frozenset(self._supervision.ports))

    async def _passes(self, check: Check) -> bool:
        try:
            done = await self._duties.podman.execs.run(self.container, check.argv, limit=check.timeout)
        except (PodmanError, PodmanUnavailable) as error:
            log.debug("the check of the service %s could not be run: %s", self.service, error)
            return False
        if done.exit_code != 0:
            self.output = done.output
        if not done.ended:
            await self._cleared()
        return done.exit_code == 0

    async def _cleared(self) -> None:
        """End the checks that still run: those that an operator before this one has left, too."""
        try:
            await self._duties.podman.execs.clear(self.container)
        except (PodmanError, PodmanUnavailable) as error:
            log.debug("checks of the service %s may still run: %s", self.service, error)

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
        self._proven = self._proven or state.ready
        if state != self.state:
            self.state = state
            self._duties.changed()


def _seconds_since(moment: datetime | None) -> float:
    return (datetime.now(UTC) - moment).total_seconds() if moment is not None else 0.0


def _lived(found: ContainerState) -> float:
    if found.started_at is None or found.finished_at is None:
        return 0.0
    return (found.finished_at - found.started_at).total_seconds()
