"""The operator as a process: what of it may not die in silence."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import kopf
import pytest

from stromboli.__main__ import run
from stromboli.errors import PartDied
from stromboli.handlers import run as process
from stromboli.handlers.assembly import Background, Parts
from stromboli.handlers.vitals import Vitals
from stromboli.handlers.watches import Wakers
from stromboli.metrics.operator import OperatorMetrics
from stromboli.perform.history import History
from stromboli.settings import Settings
from stromboli.store import Store
from stromboli.work_queue import WorkQueue

Step = Callable[[], Awaitable[Any]]


async def forever(*_: object, **__: object) -> None:
    await asyncio.Event().wait()


async def nothing(*_: object, **__: object) -> None:
    return


class Part:
    """Stands for the sweep, the guard of the disk, the follower of removals and the warm-up."""

    problem: str | None = None
    missing: str | None = None

    def __init__(self, dies: str) -> None:
        self._dies = dies

    async def _step(self, name: str, otherwise: Step) -> Any:
        if self._dies == name:
            raise KeyError(name)
        return await otherwise()

    async def begin(self) -> None:
        return

    async def attempt(self) -> bool:
        await self._step("sweep", nothing)
        return True

    async def follow(self) -> None:
        await self._step("removals", forever)

    async def run(self) -> None:
        await self._step("guard", forever)

    async def keep_trying(self) -> None:
        await self._step("CLI", nothing)


class Expiring(Part):
    """The deletion of finished runs."""

    async def run(self) -> None:
        await self._step("expiry", forever)


class Timing(Part):
    """The times of outputs."""

    async def run(self) -> None:
        await self._step("times", forever)


def parts(dies: str = "") -> Parts:
    part = cast(Any, Part(dies))
    wakers = Wakers(*(cast(Any, nothing) for _ in range(6)))
    background = Background(part, part, part, part, cast(Any, Expiring(dies)), cast(Any, Timing(dies)))
    store, queue = Store(cast(Any, nothing), History("n")), WorkQueue(cast(Any, nothing))
    return Parts(store, queue, wakers, background, part, part, part, {})


class Podman:
    """One that answers."""

    async def ping(self, patience: float) -> None:
        return


def vitals(settings: Settings) -> Vitals:
    return Vitals(settings, cast(Any, Podman()), OperatorMetrics("test"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, runtime_dir=tmp_path, podman_socket=tmp_path / "s", node="n")


@pytest.mark.parametrize(
    ("dies", "said"),
    [
        ("sweep", "the sweep"),
        ("guard", "the guard of the disk"),
        ("removals", "the follower of removals"),
        ("expiry", "the deletion of finished runs"),
        ("times", "the times of outputs"),
        ("CLI", "the search for the CLI's image"),
    ],
)
async def test_a_background_part_that_dies_ends_the_operator(
    dies: str, said: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watched_by(monkeypatch, forever)
    with pytest.raises(PartDied, match=rf"^{said} has died \(KeyError\)"):
        await process._watch(settings, parts(dies), vitals(settings))
    assert any(record.exc_info for record in caplog.records)
    assert not (settings.home / "operator.ready").exists()


async def test_a_watch_that_ends_by_itself_ends_the_operator(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched_by(monkeypatch, nothing)
    with pytest.raises(PartDied, match="the watch of the cluster has ended by itself"):
        await process._watch(settings, parts(), vitals(settings))


async def test_a_watch_that_does_not_come_to_its_end_ends_the_operator(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of its watches has died, and it waits for another."""

    async def stuck() -> None:
        await handler(registries[0], "cleanup")()
        await forever()

    registries = watched_by(monkeypatch, stuck)
    monkeypatch.setattr(process, "ENDING", 0.01)
    with pytest.raises(PartDied, match="the watch of the cluster has been ending for 0 s"):
        await process._watch(settings, parts(), vitals(settings))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: str(n.name))
async def test_being_told_to_end_is_no_failure(
    number: signal.Signals, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kopf sets handlers of its own as it starts, and ends when `stop_flag` is set."""
    loop, flags, by_kopf = asyncio.get_running_loop(), [], asyncio.Event()

    async def spawn(*, stop_flag: asyncio.Event, **_: object) -> list[object]:
        loop.add_signal_handler(number, by_kopf.set)
        flags.append(stop_flag)
        return []

    async def end(*_: object, **__: object) -> None:
        os.kill(os.getpid(), number)
        async with asyncio.timeout(10):
            await flags[0].wait()

    monkeypatch.setattr(kopf, "spawn_tasks", spawn)
    monkeypatch.setattr(kopf, "run_tasks", end)
    try:
        await process._watch(settings, parts(), vitals(settings))
    finally:
        for other in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(other)
    assert not by_kopf.is_set()


def watched_by(monkeypatch: pytest.MonkeyPatch, run: Step) -> list[kopf.OperatorRegistry]:
    """`run` in place of what kopf does; the registry that kopf would get."""
    registries: list[kopf.OperatorRegistry] = []

    async def spawn(*, registry: kopf.OperatorRegistry, **_: object) -> list[object]:
        registries.append(registry)
        return []

    async def end(*_: object, **__: object) -> None:
        await run()

    monkeypatch.setattr(kopf, "spawn_tasks", spawn)
    monkeypatch.setattr(kopf, "run_tasks", end)
    return registries


def handler(registry: kopf.OperatorRegistry, activity: str) -> Step:
    found = registry._activities.get_all_handlers()
    return cast(Step, next(h.fn for h in found if h.activity is not None and h.activity.value == activity))


def test_the_exit_code_of_one_whose_part_died(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def died(_: Path | None) -> None:
        raise PartDied("the sweep has died (KeyError); the log has its traceback")

    monkeypatch.setattr(process, "run_operator", died)
    assert run(["operator"]) == 1
    assert capsys.readouterr().err == "stromboli: the sweep has died (KeyError); the log has its traceback\n"
