"""Background jobs for long work: one job per key, however many runs or sessions wait for it.

A reconcile pass starts a job or finds it in progress, reports that and returns. The job's end wakes all who wait for
it, and their next passes take its result or its failure. A job can be cancelled, and is cancelled when the last one who
waits for it leaves. No job outlives the process: the next operator sees on the node what is already done, and starts
the job again if it is still needed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
# The work of a job. It is called with a function to report its progress with.
Work = Callable[[Callable[[str], None]], Coroutine[Any, Any, T]]


@dataclass(slots=True, eq=False)
class Job(Generic[T]):
    """`progress` is what the work last reported, empty at first. `began` and `ended` are in seconds of the monotonic
    clock. `waiting` has the UIDs to wake at the end; an empty one stands for a caller that is not woken.
    """

    task: asyncio.Task[T]
    began: float
    progress: str = ""
    ended: float | None = None
    waiting: set[str] = field(default_factory=set)

    @property
    def is_over(self) -> bool:
        return self.task.done()

    @property
    def failure(self) -> BaseException | None:
        """Why it failed; None if it is in progress or has succeeded."""
        if not self.task.done():
            return None
        return asyncio.CancelledError() if self.task.cancelled() else self.task.exception()

    @property
    def succeeded(self) -> bool:
        return self.task.done() and self.failure is None

    def result(self) -> T:
        """What the work returned, or raised; the job must be over."""
        return self.task.result()


class Jobs(Generic[K, T]):
    """Jobs of one type, by key; at the end of a job, `wake` is called with each UID that waits for it."""

    def __init__(self, wake: Callable[[str], None]) -> None:
        self._wake = wake
        self._jobs: dict[K, Job[T]] = {}
        self._ending: set[asyncio.Task[T]] = set()  # cancelled jobs that no one waits for any more

    def __len__(self) -> int:
        return len(self._jobs)

    def find(self, key: K) -> Job[T] | None:
        """The job of that key, until it is dropped."""
        return self._jobs.get(key)

    def __iter__(self) -> Iterator[K]:
        return iter(tuple(self._jobs))

    def start(self, key: K, work: Work[T]) -> Job[T]:
        """Start a job; an earlier one with that key must be over."""
        assert key not in self._jobs or self._jobs[key].is_over, f"a job is under way for {key}"

        def report(progress: str) -> None:
            job.progress = progress

        def ended(task: asyncio.Task[T]) -> None:
            job.ended = time.monotonic()
            if not task.cancelled():
                task.exception()  # retrieved here, since all who waited for it may have left
            for uid in job.waiting - {""}:
                self._wake(uid)

        job = self._jobs[key] = Job(asyncio.create_task(work(report), name=f"job {key}"), time.monotonic())
        job.task.add_done_callback(ended)
        return job

    def drop(self, key: K) -> None:
        """Forget a job that is over."""
        assert self._jobs[key].is_over, f"a job is under way for {key}"
        del self._jobs[key]

    def drop_older(self, seconds: float) -> None:
        """Forget the jobs that ended longer ago than that."""
        now = time.monotonic()
        for key, job in list(self._jobs.items()):
            if job.ended is not None and now - job.ended > seconds:
                del self._jobs[key]

    def leave(self, uid: str) -> None:
        """This UID no longer waits for any job: jobs in progress that no one else waits for are cancelled."""
        for key, job in list(self._jobs.items()):
            if uid not in job.waiting:
                continue
            job.waiting.discard(uid)
            if not job.waiting and not job.is_over:
                del self._jobs[key]
                self._ending.add(job.task)
                job.task.add_done_callback(self._ending.discard)
                job.task.cancel()

    async def break_off(self, key: K) -> None:
        """Forget the job of that key; if it is in progress, cancel it and wait for its end. Partial results stay."""
        if (job := self._jobs.pop(key, None)) is not None:
            job.task.cancel()
            await asyncio.wait([job.task])

    async def close(self) -> None:
        """Cancel all jobs, and wait for their ends."""
        for key in self:
            await self.break_off(key)
        if self._ending:
            await asyncio.wait(self._ending)


async def to_its_end(work: Awaitable[None]) -> None:
    """Await work that must not be interrupted: if the job is cancelled meanwhile, it ends once the work is done."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
