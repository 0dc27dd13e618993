"""Reads from the API server while many runs wait in one session's queue: per run, they must not grow with the queue."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.benchmarks import sessions
from tests.benchmarks.bed import Bed, say
from tests.benchmarks.numbers import Goal
from tests.benchmarks.result import Result, Table
from tests.benchmarks.watch import Watch

CLI = "instant"
SHORT = 4  # the short queue is so many times shorter
CREATORS = 8
UNTIL_DONE = 1800.0
GROWTH = 1.2


def measure(bed: Bed, runs: int) -> Result:
    """Two queues: one of `runs`, and a short one."""
    with bed.operator(), Watch(bed.api, CLI) as watch:
        lengths = (runs // SHORT, runs)
        short, long = (_reads(bed, watch, f"queue-{length}", length) / length for length in lengths)
    rows = [
        ("runs in the queue", "reads per run"),
        *((str(length), f"{reads:.1f}") for length, reads in zip(lengths, (short, long), strict=True)),
    ]
    return Result(
        name="session-queue",
        tables=[Table("Reads from the API server by a session's runs, created at once", rows)],
        goals=[Goal(f"reads per run, queue of {runs} / queue of {runs // SHORT}", long / short, GROWTH, "at most")],
        data={"readsPerRun": {str(lengths[0]): round(short, 2), str(lengths[1]): round(long, 2)}},
    )


def _reads(bed: Bed, watch: Watch, session: str, runs: int) -> int:
    """The number of objects' and lists' reads until all runs have finished."""
    with sessions.begun(bed, watch, session, {}):
        before = bed.api.reads()
        names = [f"{session}-{number:04}" for number in range(runs)]
        with ThreadPoolExecutor(CREATORS) as pool:
            list(pool.map(lambda name: bed.api.create_run(CLI, name, sessions.resumed(session)), names))
        for number, name in enumerate(names, 1):
            watch.finished(name, UNTIL_DONE)
            if number % 100 == 0:
                say(f"{number} of {runs} runs in one queue have finished")
        counted = bed.api.reads() - before
        say(f"{runs} runs in one queue: {counted.total()} reads: {dict(counted.most_common(4))}")
        sessions.idle(bed, CLI, session)
    return counted.total()
