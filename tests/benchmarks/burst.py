"""Many runs created at the same moment: 200 in one namespace, and 1,000 in ten.

Runs per second, from the first create request until the last run has finished, are compared with the best that
`podman run` reaches on this machine at any concurrency. For ten namespaces the wait until a run's attempt starts is
compared too, namespace by namespace. The CLI is the instant one, so that what is measured is the way to the agent.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from statistics import median
from typing import Any

from stromboli.grammar import times
from tests.benchmarks import proc
from tests.benchmarks.api import Object
from tests.benchmarks.bed import Bed, prompt, say, spec
from tests.benchmarks.numbers import Goal
from tests.benchmarks.result import Result, Table
from tests.benchmarks.watch import Watch

CLI = "instant"
LEVELS = (1, 2, 3, 4, 6)  # how many at once `podman run` is measured with
BASELINE_RUNS = 24
CREATORS = 8
NAMESPACES = 10
UNTIL_DONE = 1800.0
RATE, WAIT, MEGABYTES = 0.9, 1.3, 150.0


def one_namespace(bed: Bed, runs: int) -> Result:
    """`runs` at once in one namespace."""
    return _measure(bed, "burst", [CLI], runs)


def ten_namespaces(bed: Bed, runs: int) -> Result:
    """`runs` at once, spread over ten namespaces."""
    names = [f"burst-{number}" for number in range(NAMESPACES)]
    for name in names:
        bed.namespace(name, CLI)
    return _measure(bed, "burst-namespaces", names, runs)


def _measure(bed: Bed, benchmark: str, namespaces: list[str], runs: int) -> Result:
    with bed.operator() as operator, ExitStack() as stack:
        best, level = max(_podman_run(bed, level) for level in LEVELS)
        watches = [stack.enter_context(Watch(bed.api, name)) for name in namespaces]
        began = time.monotonic()
        done = _finished(bed, watches, runs, benchmark)
        took = time.monotonic() - began
        _, peak = proc.megabytes(operator.pid)
        for watch in watches:
            bed.api.delete_runs(watch.namespace)
        bed.quiet()
    rate = runs / took
    waits = {name: median(map(_wait, found)) for name, found in done.items()}
    what = f"{runs} runs at once in {len(namespaces)} namespace{'s' if len(namespaces) > 1 else ''}"
    goals = [
        Goal(f"{what}: operator / best podman run", rate / best, RATE, "at least"),
        Goal(f"{what}: operator memory, peak", peak, MEGABYTES, "at most", " MB"),
    ]
    rows = [
        ("", "runs per second", "ratio"),
        (f"podman run, best (at {level} at once)", f"{best:.2f}", "1.00"),
        ("operator", f"{rate:.2f}", f"{rate / best:.2f}"),
    ]
    tables = [Table(f"{what}, {CLI} CLI", rows)]
    if len(namespaces) > 1:
        goals.append(
            Goal(f"{what}: longest / shortest median wait", max(waits.values()) / min(waits.values()), WAIT, "at most")
        )
        tables.append(
            Table(
                "Median wait until the attempt starts, by namespace",
                [("namespace", "wait"), *((name, f"{wait:.1f} s") for name, wait in waits.items())],
            )
        )
    data: dict[str, Any] = {
        "podmanRun": round(best, 3),
        "operator": round(rate, 3),
        "ratio": round(rate / best, 3),
        "peakMegabytes": round(peak, 1),
        "medianWait": {name: round(wait, 2) for name, wait in waits.items()},
    }
    return Result(benchmark, tables, goals, data)


def _podman_run(bed: Bed, level: int) -> tuple[float, int]:
    """Runs per second of `podman run` at that concurrency, and the concurrency."""
    baseline = bed.baseline(CLI)
    baseline.once(prompt())
    began = time.monotonic()
    with ThreadPoolExecutor(level) as pool:
        list(pool.map(lambda _: baseline.once(prompt()), range(BASELINE_RUNS)))
    rate = BASELINE_RUNS / (time.monotonic() - began)
    say(f"podman run, {level} at once: {rate:.2f}/s")
    return rate, level


def _finished(bed: Bed, watches: list[Watch], runs: int, prefix: str) -> dict[str, list[Object]]:
    """Create the runs, in the namespaces in turn, and wait for the end of all; the finished ones by namespace."""
    names = [(watches[number % len(watches)], f"{prefix}-{number:04}") for number in range(runs)]
    with ThreadPoolExecutor(CREATORS) as pool:
        list(pool.map(lambda one: bed.api.create_run(one[0].namespace, one[1], spec(bed.image)), names))
    say(f"{runs} runs are created")
    done: dict[str, list[Object]] = {watch.namespace: [] for watch in watches}
    for number, (watch, name) in enumerate(names, 1):
        done[watch.namespace].append(watch.finished(name, UNTIL_DONE).obj)
        if number % 100 == 0:
            say(f"{number} of {runs} runs have finished")
    return done


def _wait(obj: Object) -> float:
    """Seconds from a run's creation until its first attempt starts; creation times have whole seconds."""
    created = times.from_text(obj["metadata"]["creationTimestamp"])
    return (times.from_text(obj["status"]["attempts"][0]["startedAt"]) - created).total_seconds()
