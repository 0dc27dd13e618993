"""The queue: one pass at a time a key, no wake-up lost, backoff, an end."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from stromboli import work_queue
from stromboli.backoff import backoff
from stromboli.errors import PodmanUnavailable
from stromboli.work_queue import WorkQueue

LIMIT = 2.0


async def _until(what: str, event: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(LIMIT):
            await event.wait()
    except TimeoutError:
        raise AssertionError(f"waited {LIMIT} s for {what}") from None


async def _until_true(what: str, is_so: Callable[[], bool]) -> None:
    """Let the loop go on, at most some thousand rounds of it."""
    for _ in range(5000):
        if is_so():
            return
        await asyncio.sleep(0)
    raise AssertionError(f"not after 5000 rounds of the loop: {what}")


async def _until_empty(queue: WorkQueue) -> None:
    await _until_true("the last pass to end", lambda: len(queue) == 0)


async def test_a_pass_that_lasts_is_known() -> None:
    work = Work()
    work.may_go.clear()
    queue = WorkQueue(work)
    assert queue.longest() is None
    queue.wake("a")
    await _until("the first pass", work.began)
    queue.wake("b")
    await _until_true("the second pass", lambda: work.inside["b"] == 1)
    found = queue.longest()
    assert found is not None
    assert found[0] == "a"
    assert 0.0 <= found[1] < LIMIT
    work.may_go.set()
    await _until_empty(queue)
    assert queue.longest() is None


class Work:
    """A pass that tests hold and let go. `then` says what a pass of a key returns or raises."""

    def __init__(self, then: Callable[[str, int], float | None] = lambda key, number: None) -> None:
        self._then = then
        self.passes: Counter[str] = Counter()
        self.inside: Counter[str] = Counter()
        self.began = asyncio.Event()
        self.may_go = asyncio.Event()
        self.may_go.set()

    async def __call__(self, key: str) -> float | None:
        self.passes[key] += 1
        self.inside[key] += 1
        assert self.inside[key] == 1, "two passes of one key at a time"
        self.began.set()
        try:
            await self.may_go.wait()
            await asyncio.sleep(0)
            return self._then(key, self.passes[key])
        finally:
            self.inside[key] -= 1


async def test_a_key_that_is_woken_has_its_turn_and_goes() -> None:
    work = Work()
    queue = WorkQueue(work)
    queue.wake("a")
    assert len(queue) == 1
    await _until_empty(queue)
    assert work.passes == {"a": 1}


async def test_passes_of_one_key_never_overlap() -> None:
    work = Work()
    queue = WorkQueue(work)
    for _ in range(50):
        queue.wake("a")
        await asyncio.sleep(0)
    await _until_empty(queue)
    assert 1 < work.passes["a"] <= 50


async def test_what_happens_during_a_turn_is_one_more() -> None:
    work = Work()
    work.may_go.clear()
    queue = WorkQueue(work)
    queue.wake("a")
    await _until("the first pass", work.began)
    for _ in range(10):
        queue.wake("a")
    work.may_go.set()
    await _until_empty(queue)
    assert work.passes["a"] == 2


@pytest.mark.parametrize("steps", range(12))
async def test_no_wake_up_is_lost_at_whatever_moment_it_comes(steps: int) -> None:
    """The last pass sees the newest state, after however many rounds of the loop it changed."""
    states, seen = ["old"], []

    async def work_on(key: str) -> None:
        seen.append(states[-1])
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    queue = WorkQueue(work_on)
    queue.wake("a")
    for _ in range(steps):
        await asyncio.sleep(0)
    states.append("new")
    queue.wake("a")
    await _until_empty(queue)
    assert seen[-1] == "new"


async def test_passes_of_several_keys_go_on_at_once() -> None:
    work = Work()
    work.may_go.clear()
    queue = WorkQueue(work)
    for key in "abc":
        queue.wake(key)
    await _until_true("three passes", lambda: len(work.passes) == 3)
    assert work.inside == {"a": 1, "b": 1, "c": 1}
    work.may_go.set()
    await _until_empty(queue)


async def test_a_turn_is_called_again_when_it_wants() -> None:
    third = asyncio.Event()

    def then(key: str, number: int) -> float | None:
        if number < 3:
            return 0.01
        third.set()
        return None

    work = Work(then)
    queue = WorkQueue(work)
    queue.wake("a")
    await _until("the third pass", third)
    await _until_empty(queue)
    assert work.passes["a"] == 3


@pytest.mark.parametrize("delay", [0.0, 0])
async def test_at_once_is_at_once(delay: float) -> None:
    work = Work(lambda key, number: delay if number < 3 else None)
    queue = WorkQueue(work)
    queue.wake("a")
    await _until_empty(queue)
    assert work.passes["a"] == 3


async def test_a_wake_up_ends_a_delay() -> None:
    work = Work(lambda key, number: 3600.0 if number == 1 else None)
    queue = WorkQueue(work)
    queue.wake("a")
    await _until("the first pass", work.began)
    for _ in range(5):
        await asyncio.sleep(0)
    queue.wake("a")
    await _until_empty(queue)
    assert work.passes["a"] == 2


async def test_waking_all_wakes_who_waits_and_starts_nobody() -> None:
    work = Work(lambda key, number: 3600.0 if number == 1 else None)
    queue = WorkQueue(work)
    queue.wake_all()
    assert len(queue) == 0
    queue.wake("a")
    queue.wake("b")
    await _until_true("both passes", lambda: work.passes.total() == 2)
    await asyncio.sleep(0)
    queue.wake_all()
    await _until_empty(queue)
    assert work.passes == {"a": 2, "b": 2}


# --- failures ---


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(0, 0.5), (1, 0.5), (2, 1.0), (3, 2.0), (6, 16.0), (7, 30.0), (8, 30.0), (5000, 30.0), (10**9, 30.0)],
)
def test_backoff(failures: int, seconds: float) -> None:
    assert backoff(failures) == seconds
    assert isinstance(backoff(failures), float)


def _failing(times: int, error: Exception) -> Callable[[str, int], float | None]:
    def then(key: str, number: int) -> None:
        if number <= times:
            raise error

    return then


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The failures in a row that backoff was asked about; it answers that there is nothing to wait for."""
    asked: list[int] = []

    def quick(failures: int) -> float:
        asked.append(failures)
        return 0.0

    monkeypatch.setattr(work_queue, "backoff", quick)
    return asked


@pytest.mark.parametrize(
    ("error", "level"), [(PodmanUnavailable("away"), logging.WARNING), (KeyError("defect"), logging.ERROR)]
)
async def test_a_turn_that_fails_is_tried_again(
    error: Exception, level: int, delays: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    work = Work(_failing(3, error))
    queue = WorkQueue(work)
    queue.wake("a")
    await _until_empty(queue)
    assert work.passes["a"] == 4
    assert max(delays) == 3
    assert [r.levelno for r in caplog.records] == [level] * 3
    assert all((r.exc_info is not None) is (level == logging.ERROR) for r in caplog.records)


async def test_failures_are_counted_in_a_row(delays: list[int]) -> None:
    def then(key: str, number: int) -> float | None:
        if number in (1, 2, 4):
            raise PodmanUnavailable("away")
        return 0.0 if number == 3 else None

    queue = WorkQueue(Work(then))
    queue.wake("a")
    await _until_empty(queue)
    assert set(delays) == {1, 2}
    assert delays[-1] == 1


async def test_a_failure_waits() -> None:
    work = Work(_failing(1, PodmanUnavailable("away")))
    queue = WorkQueue(work)
    queue.wake("a")
    await _until("the first pass", work.began)
    for _ in range(20):
        await asyncio.sleep(0)
    assert work.passes["a"] == 1, "half a second is not over"
    await queue.close()


async def test_one_keys_defect_is_not_the_others(delays: list[int]) -> None:
    work = Work(lambda key, number: 1 / 0 if key == "bad" and number == 1 else None)
    queue = WorkQueue(work)
    queue.wake("bad")
    queue.wake("good")
    await _until_empty(queue)
    assert work.passes == {"bad": 2, "good": 1}


# --- the end ---


async def test_closing_stops_passes_where_they_are() -> None:
    work = Work()
    work.may_go.clear()
    queue = WorkQueue(work)
    queue.wake("a")
    queue.wake("never begun")
    await _until("a pass", work.began)
    await queue.close()
    assert len(queue) == 0
    assert work.inside.total() == 0


async def test_closing_ends_delays() -> None:
    work = Work(lambda key, number: 3600.0)
    queue = WorkQueue(work)
    queue.wake("a")
    await _until("a pass", work.began)
    await asyncio.sleep(0)
    async with asyncio.timeout(LIMIT):
        await queue.close()
    assert len(queue) == 0


async def test_a_closed_queue_begins_nothing() -> None:
    """Whoever watched a container wakes its run when the watch is ended, too."""
    work = Work()
    queue = WorkQueue(work)
    await queue.close()
    queue.wake("a")
    queue.wake_all()
    await asyncio.sleep(0)
    assert len(queue) == 0
    assert work.passes == {}


async def test_closing_twice_is_no_error() -> None:
    queue = WorkQueue(Work())
    await queue.close()
    await queue.close()
    assert len(queue) == 0


async def test_nothing_is_left_behind_after_many_keys() -> None:
    async def work_on(key: str) -> None:
        await asyncio.sleep(0)

    queue = WorkQueue(work_on)
    for n in range(500):
        queue.wake(f"k{n % 50}")
        if n % 7 == 0:
            await asyncio.sleep(0)
    await _until_empty(queue)
    assert all(not held for held in vars(queue).values() if isinstance(held, dict))


def test_a_turn_may_be_any_coroutine() -> None:
    async def work_on(key: str) -> float | None:
        return None

    work: Callable[[str], Awaitable[float | None]] = work_on
    assert len(WorkQueue(work)) == 0
