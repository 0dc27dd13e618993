"""Signs of life: of the part that gives them, and of no other."""

from __future__ import annotations

import asyncio
import time

import pytest

from stromboli.heartbeat import Hearts, beat


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", made)
    return made


async def test_a_part_that_is_silent_for_too_long_is_named(clock: Clock) -> None:
    hearts, go_on = Hearts(), asyncio.Event()

    async def work() -> None:
        await go_on.wait()
        beat()
        await asyncio.Event().wait()

    async def other() -> None:
        beat()
        await asyncio.Event().wait()

    parts = [hearts.of("the sweep", 30.0, work), hearts.of("the guard", 100.0, other)]
    clock.now += 1000
    assert hearts.problem() is None, "they have not begun"
    tasks = [asyncio.create_task(part()) for part in parts]
    await asyncio.sleep(0)
    clock.now += 31
    assert hearts.problem() == "the sweep has been stuck for 31 s"
    go_on.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert hearts.problem() is None
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_outside_of_any_part_it_has_no_effect() -> None:
    beat()
