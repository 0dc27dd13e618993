"""How one service of a stack is looked after: when it counts as ready or late, and what cannot stop that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from stromboli import backoff
from stromboli.errors import NoSpace
from stromboli.node.stacks import sockets
from stromboli.node.stacks.tending import Duties, Tending
from stromboli.plan.stack import restarts
from stromboli.plan.stack.order import Phase, State
from stromboli.plan.stack.ports import Listening
from stromboli.plan.stack.supervision import Supervision
from stromboli.podman.transport import Podman
from tests.support.fake_podman import FakePodman, Program
from tests.support.fake_podman_wire import within

IMAGE = "localhost/any:1"
SOON = 5.0  # seconds
SERVER = Supervision(None, (5432,), None, one_shot=False, grace=1)
JOB = Supervision(None, (), None, one_shot=True, grace=1)


class Bed:
    """A service `db` in a container of the fake Podman; `states` are all that it has been in."""

    def __init__(self, podman: Podman, fake: FakePodman, container: str) -> None:
        self.fake, self.container, self._podman = fake, container, podman
        self.states: list[State] = []
        self._turned = asyncio.Event()
        self._tending: Tending | None = None

    async def begin(
        self, supervision: Supervision, patience: float = 60.0, note: Callable[[str], Awaitable[None]] | None = None
    ) -> None:
        duties = Duties(self._podman, note or self._nothing, self._start, self._changed, lambda _: None)
        self._tending = Tending("db", self.container, supervision, patience, duties)
        await self._podman.containers.start(self.container)
        self._tending.begin()

    async def until(self, what: str, is_so: Callable[[State], bool]) -> State:
        try:
            async with asyncio.timeout(SOON):
                while not self.states or not is_so(self.states[-1]):
                    self._turned.clear()
                    await self._turned.wait()
        except TimeoutError as error:
            raise AssertionError(f"not in time: {what}; {self.states[-3:]}") from error
        return self.states[-1]

    async def close(self) -> None:
        if self._tending is not None:
            await self._tending.close()

    def _changed(self) -> None:
        assert self._tending is not None
        self.states.append(self._tending.state)
        self._turned.set()

    async def _start(self, _: str) -> None:
        await self._podman.containers.start(self.container)

    async def _nothing(self, _: str) -> None:
        pass


@pytest.fixture
async def bed(tmp_path: Path) -> AsyncIterator[Bed]:
    async with FakePodman(tmp_path / "podman.sock", served=False) as fake, within(fake.within) as podman:
        fake.add_image(IMAGE, root=tmp_path)
        one = Bed(podman, fake, await podman.containers.create({"name": "one", "image": IMAGE}))
        yield one
        await one.close()


async def test_a_service_whose_process_is_gone_is_not_ready(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    async def ending(_: int) -> Listening | None:
        """It ends by itself just before the look: there are no tables any more."""
        nonlocal looks
        looks += 1
        bed.fake.end("one", 1)
        return None

    monkeypatch.setattr(sockets, "listening", ending)
    monkeypatch.setattr(backoff, "FIRST_DELAY", 0.001)
    await bed.begin(SERVER)
    await bed.until("it has crashed again and again", lambda state: state.phase is Phase.failed)
    assert looks >= restarts.LOOP
    assert not any(state.ready for state in bed.states)


async def test_a_service_whose_sockets_cannot_be_seen_counts_as_ready(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unseen(_: int) -> Listening | None:
        return None

    monkeypatch.setattr(sockets, "listening", unseen)
    await bed.begin(SERVER)
    await bed.until("it is ready", lambda state: state.phase is Phase.running and state.ready)


async def test_time_without_being_ready_is_counted_over_restarts(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(_: int) -> Listening | None:
        return Listening()

    monkeypatch.setattr(sockets, "listening", nothing)
    monkeypatch.setattr(backoff, "FIRST_DELAY", 0.001)
    monkeypatch.setattr(restarts, "STEADY", 0.05)  # so that it is not taken for one that crashes at once
    bed.fake.program = lambda _: Program(0.1, 1)
    await bed.begin(SERVER, patience=0.35)
    late = await bed.until("it is late", lambda state: state.late)
    assert not late.ready


async def test_a_full_disk_does_not_hide_that_a_service_has_ended(bed: Bed) -> None:
    async def full(_: str) -> None:
        raise NoSpace("the disk is full")

    bed.fake.program = lambda _: Program(0.0)
    await bed.begin(JOB, note=full)
    ended = await bed.until("it has ended", lambda state: state.phase is Phase.ended)
    assert ended.code == 0
