"""What the health of an operator looks at, from its first moment on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stromboli.errors import ClusterUnavailable
from stromboli.handlers import run as process
from stromboli.handlers import vitals as module
from stromboli.handlers.vitals import Vitals
from stromboli.metrics.operator import OperatorMetrics
from stromboli.settings import Settings
from stromboli.work_queue import WorkQueue


class Podman:
    """One that answers."""

    async def ping(self, patience: float) -> None:
        return


class Operator:
    """Its vitals, and what they look at."""

    def __init__(self, home: Path) -> None:
        settings = Settings(home=home, runtime_dir=home, podman_socket=home / "s", node="n")
        self.vitals = Vitals(settings, cast(Any, Podman()), OperatorMetrics("test"))
        self.warm_up = SimpleNamespace(missing=None)
        self.may_end = asyncio.Event()
        self.queue = WorkQueue(self._pass)

    def begin(self) -> None:
        background = SimpleNamespace(warm_up=self.warm_up)
        self.vitals.of(cast(Any, SimpleNamespace(background=background, queues={"run": self.queue})))

    async def ask(self) -> None:
        """What has to be asked for is asked once."""
        await self.vitals._probes.once()

    def wrong(self) -> list[str]:
        return [problem.partition(":")[0] for problem in self.vitals.health.problems()]

    async def _pass(self, key: str) -> None:
        await self.may_end.wait()


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path)


async def test_it_is_well_once_all_has_begun(operator: Operator) -> None:
    assert operator.wrong() == ["start", "podman", "disk", "sweep"]
    operator.begin()
    await operator.ask()
    assert operator.wrong() == ["sweep"]
    operator.vitals.swept(None)
    assert operator.wrong() == []


async def test_while_it_waits_for_the_cluster_it_says_so_and_lives(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "backoff", lambda _: 0.0)
    answers = iter([ClusterUnavailable("403 Forbidden"), None])
    seen: list[str | None] = []

    async def ask() -> str:
        seen.append(operator.vitals.starting)
        if (error := next(answers)) is not None:
            raise error
        return "there"

    assert await process._eventually("the API server", ask, operator.vitals) == "there"
    assert seen == ["it has just begun", "waiting for the API server: 403 Forbidden"]
    found = operator.vitals.health.healthz()
    assert found is not None
    assert found.well


async def test_what_is_missing_is_said_in_the_words_of_who_looks_for_it(operator: Operator) -> None:
    operator.begin()
    await operator.ask()
    operator.warm_up.missing = "the Claude CLI's image: not found"
    operator.vitals.swept("the last sweep could not be completed: Podman hangs")
    assert operator.vitals.health.problems() == [
        "cli-image: the Claude CLI's image: not found",
        "sweep: the last sweep could not be completed: Podman hangs (for 0 s)",
    ]


async def test_a_full_disk_is_said(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stromboli.attempt.folder.ROOM", 1 << 62)
    full = SimpleNamespace(f_bavail=0, f_frsize=4096, f_blocks=1000)
    monkeypatch.setattr("os.statvfs", lambda _: full)
    operator.begin()
    await operator.ask()
    [said] = [problem for problem in operator.vitals.health.problems() if problem.startswith("disk")]
    assert "is full" in said


async def test_a_pass_that_does_not_end_is_for_a_restart(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    operator.begin()
    operator.queue.wake("uid")
    await asyncio.sleep(0)
    assert operator.vitals.health.healthz() == operator.vitals.health.healthz("passes")
    monkeypatch.setattr(module, "LONGEST", -1.0)
    found = operator.vitals.health.healthz("passes")
    assert found is not None
    assert found.text.startswith("[-]passes failed: a pass of run uid has lasted for 0 s\n")
    await operator.queue.close()


async def test_it_is_served_where_the_settings_say(operator: Operator) -> None:
    async with operator.vitals.served() as where:
        assert where is None
