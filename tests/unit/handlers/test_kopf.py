"""kopf itself, with an API server that fails it: no watch is given up, and what fails is known."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import kopf
import pytest

from stromboli.handlers import run as process
from stromboli.handlers import watches
from stromboli.handlers.watches import Backoffs, Wakers, register
from stromboli.health import watched as conclusions
from stromboli.health.watched import Watched
from stromboli.kube.client import WATCHED
from stromboli.store import Store
from tests.support.fake_watches import WatchServer

LIMIT = 20.0
MANY = 100


async def _nothing(*_: object) -> None:
    return


@dataclass
class Operator:
    """kopf with the operator's handlers: which runs it has reported to them, and what is concluded from it."""

    server: WatchServer
    watched: Watched = field(default_factory=lambda: Watched(WATCHED))
    woken: list[str] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] = field(init=False)

    def start(self) -> None:
        store = Store(self.woken.append, cast(Any, _History()))
        none = cast(Any, lambda *_: None)
        wakers = Wakers(self.woken.append, none, none, none, none, cast(Any, _nothing))
        registry = register(store, wakers, asyncio.Event(), self.watched)
        self.task = asyncio.create_task(process._watches(registry, self.stop))

    async def until(self, what: str, is_so: Callable[[], object]) -> None:
        loop = asyncio.get_running_loop()
        limit = loop.time() + LIMIT
        while not is_so():
            assert not self.task.done(), "kopf has ended"
            assert loop.time() < limit, f"waited {LIMIT:.0f} s for {what}; {self.server.asked}"
            await asyncio.sleep(0.01)

    async def hears_of(self, uid: str) -> None:
        self.server.put("agentruns", uid)
        await self.until(f"the event of {uid}", lambda: uid in self.woken)

    async def watches_all(self) -> None:
        await self.until("all watches", lambda: all(self.server.asked[f"WATCH {kind}"] for kind in WATCHED))


Running = AbstractAsyncContextManager[Operator]


class _History:
    """Nothing is remembered of finished runs."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


@asynccontextmanager
async def running(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Operator]:
    """kopf inside the block."""
    server = WatchServer()
    await server.server.start_server()
    info = kopf.ConnectionInfo(server=str(server.server.make_url("")).rstrip("/"))
    monkeypatch.setattr(kopf, "login_with_service_account", lambda **_: None)
    monkeypatch.setattr(kopf, "login_with_kubeconfig", lambda **_: info)
    monkeypatch.setattr(watches, "BACKOFFS", Backoffs((), 0.0))
    made = Operator(server)
    made.start()
    try:
        yield made
    finally:
        server.refuses = None
        made.stop.set()
        await asyncio.wait_for(asyncio.gather(made.task, return_exceptions=True), LIMIT)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(number)
        await server.server.close()


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch) -> Running:
    return running(monkeypatch)


async def test_events_arrive(operator: Running) -> None:
    async with operator as found:
        await found.watches_all()
        await found.hears_of("a")
        assert found.watched.refused() is None


async def test_a_watch_without_a_byte_is_begun_anew(operator: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is alive, and nothing comes: of a proxy in between, say."""
    monkeypatch.setattr(watches, "INACTIVE", 0.3)
    async with operator as found:
        await found.watches_all()
        found.server.mute = True
        found.server.put("agentruns", "lost")
        before = found.server.asked["WATCH agentruns"]
        await found.until("another watch", lambda: found.server.asked["WATCH agentruns"] > before)
        found.server.mute = False
        await found.hears_of("next")


@pytest.mark.parametrize("status", [403, 500, 503, 429])
async def test_refusals_without_end_end_nothing_and_are_known(
    operator: Running, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time is compressed: an hour has twelve times as many."""
    monkeypatch.setattr(conclusions, "PATIENCE", 0.0)
    async with operator as found:
        await found.watches_all()
        found.server.refuses = status
        found.server.drop()
        await found.until("refusals", lambda: found.server.asked["WATCH agentruns"] > MANY)
        said = found.watched.refused()
        assert said is not None
        assert f"the API server answers {status}" in said
        found.server.refuses = None
        await found.hears_of("after it")
        await found.until("health", lambda: found.watched.refused() is None)


async def test_neither_do_refusals_from_the_beginning(operator: Running) -> None:
    async with operator as found:
        found.server.refuses = 503
        await found.until("refusals", lambda: found.server.asked["LIST apis"] > MANY)
        found.server.refuses = None
        await found.watches_all()
        await found.hears_of("after it")


@pytest.mark.parametrize("code", [500, 504, 410, 400])
async def test_an_error_in_the_stream_makes_it_list_again(operator: Running, code: int) -> None:
    async with operator as found:
        await found.watches_all()
        before = found.server.asked["LIST agentruns"]
        error = {"kind": "Status", "status": "Failure", "message": "etcd is somewhere else", "code": code}
        found.server.say("agentruns", {"type": "ERROR", "object": error})
        await found.until("another list", lambda: found.server.asked["LIST agentruns"] > before)
        await found.hears_of("after it")


def test_backoffs_have_no_end() -> None:
    waits = iter(watches.BACKOFFS)
    assert [next(waits) for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    for _ in range(10_000):
        assert next(waits) == 3.0


async def test_what_has_begun_since_neither_delays_its_end_nor_is_ended_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as the connection of somebody who follows a run."""
    async with running(monkeypatch) as operator:
        await operator.watches_all()
        ours = asyncio.create_task(asyncio.sleep(LIMIT))
        loop = asyncio.get_running_loop()
        began = loop.time()
        operator.stop.set()
        await operator.task
        took = loop.time() - began
        assert took < 4.0, f"kopf waited {took:.1f} s"
        assert not ours.done()
        ours.cancel()
