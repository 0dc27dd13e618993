"""Long work beside the reconcile passes of those who need it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from stromboli.node.jobs import Jobs, to_its_end


class Bench:
    """Jobs whose work is done once a test lets it."""

    def __init__(self) -> None:
        self.woken: list[str] = []
        self.jobs: Jobs[str, int] = Jobs(self.woken.append)
        self.go_on = asyncio.Event()
        self.broken_off = 0

    async def work(self, report: Callable[[str], None]) -> int:
        report("half of it")
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.broken_off += 1
            raise
        return 42

    async def fails(self, _: Callable[[str], None]) -> int:
        raise OSError("no")


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.jobs.close()


async def settled() -> None:
    """Tasks run, and then their callbacks."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_everybody_who_waits_is_woken_at_the_end_and_finds_the_result(bench: Bench) -> None:
    job = bench.jobs.start("it", bench.work)
    job.waiting |= {"one", "two", ""}
    await settled()
    assert (job.is_over, job.succeeded, job.progress, bench.woken) == (False, False, "half of it", [])
    bench.go_on.set()
    await settled()
    assert sorted(bench.woken) == ["one", "two"]
    found = bench.jobs.find("it")
    assert found is job
    assert found.succeeded
    assert found.result() == 42
    bench.jobs.drop("it")
    assert bench.jobs.find("it") is None


async def test_a_failure_is_for_those_who_wait(bench: Bench) -> None:
    job = bench.jobs.start("it", bench.fails)
    job.waiting.add("one")
    await settled()
    assert bench.woken == ["one"]
    assert isinstance(job.failure, OSError)
    assert not job.succeeded
    with pytest.raises(OSError, match="no"):
        job.result()
    assert bench.jobs.start("it", bench.work) is bench.jobs.find("it"), "it may be started again"


async def test_a_job_that_is_broken_off_has_ended_by_then(bench: Bench) -> None:
    job = bench.jobs.start("it", bench.work)
    await settled()
    await bench.jobs.break_off("it")
    assert job.is_over
    assert isinstance(job.failure, asyncio.CancelledError)
    assert bench.broken_off == 1
    assert len(bench.jobs) == 0
    await bench.jobs.break_off("it")


async def test_a_job_ends_when_the_last_who_waits_for_it_leaves(bench: Bench) -> None:
    job = bench.jobs.start("it", bench.work)
    job.waiting |= {"one", "two"}
    await settled()
    bench.jobs.leave("one")
    await settled()
    assert not job.is_over
    bench.jobs.leave("nobody")
    bench.jobs.leave("two")
    assert bench.jobs.find("it") is None
    another = bench.jobs.start("it", bench.work)
    another.waiting.add("three")
    await settled()
    assert isinstance(job.failure, asyncio.CancelledError)
    assert bench.jobs.find("it") is another
    assert (another.is_over, bench.broken_off, bench.woken) == (False, 1, [])


async def test_a_result_stays_whoever_leaves(bench: Bench) -> None:
    job = bench.jobs.start("it", bench.work)
    job.waiting.add("one")
    bench.go_on.set()
    await settled()
    bench.jobs.leave("one")
    assert bench.jobs.find("it") is job
    assert job.succeeded


async def test_what_is_ending_has_ended_once_all_are_closed(bench: Bench) -> None:
    job = bench.jobs.start("it", bench.work)
    job.waiting.add("one")
    await settled()
    bench.jobs.leave("one")
    await bench.jobs.close()
    assert job.is_over


async def test_old_results_are_dropped_and_what_is_under_way_is_not(bench: Bench) -> None:
    bench.jobs.start("ended", bench.fails)
    bench.jobs.start("going", bench.work)
    await settled()
    bench.jobs.drop_older(3600.0)
    assert list(bench.jobs) == ["ended", "going"]
    bench.jobs.drop_older(-1.0)
    assert list(bench.jobs) == ["going"]


async def test_at_the_end_all_are_broken_off(bench: Bench) -> None:
    for key in ("one", "two"):
        bench.jobs.start(key, bench.work)
    await settled()
    await bench.jobs.close()
    assert bench.broken_off == 2
    assert list(bench.jobs) == []


async def test_what_must_not_be_half_done_is_done_before_a_job_ends(bench: Bench) -> None:
    done: list[str] = []

    async def write() -> None:
        await bench.go_on.wait()
        done.append("written")

    async def work(_: Callable[[str], None]) -> int:
        await to_its_end(write())
        raise AssertionError("it goes on although it was broken off")

    job = bench.jobs.start("it", work)
    await settled()
    ending = asyncio.create_task(bench.jobs.break_off("it"))
    await settled()
    assert not ending.done()
    bench.go_on.set()
    await ending
    assert done == ["written"]
    assert isinstance(job.failure, asyncio.CancelledError)
