"""Throughput of concurrent runs: runs finished per second by the operator and by `podman run`, at equal concurrency.

Loads are interleaved: `podman run`, operator, `podman run`, … Each load has N workers that start the next run as soon
as their previous one has finished. CPU time per run is reported as well, since CPU is the bottleneck: that of the whole
machine for both sides, and for the operator's side also that of each long-lived process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from statistics import median
from typing import Any

from tests.benchmarks import proc
from tests.benchmarks.bed import Bed, prompt, say, spec
from tests.benchmarks.numbers import Goal, medians, ms
from tests.benchmarks.result import Result, Table
from tests.benchmarks.watch import Watch

LEVELS = (1, 2, 4, 8)
A_WORKER = 2  # runs per worker in one load
LEAST = 4  # minimum number of runs in one load
LIMIT = 0.85
CLI = "real"

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Load:
    """One load: runs per second, and the machine's CPU seconds per run, including clean-up."""

    rate: float
    cpu: float
    parts: dict[str, float] = field(default_factory=dict)


def measure(bed: Bed, loads: int) -> Result:
    """Measure `loads` loads of each side at every level of concurrency."""
    rows: list[tuple[str, ...]] = [("at once", "podman run", "operator", "ratio", "podman CPU", "operator CPU")]
    goals, data = [], {}
    with bed.operator() as operator, Watch(bed.api, CLI) as watch:
        pids = bed.pids() | {"operator": operator.pid}
        parts: list[tuple[str, ...]] = [("at once", *pids)]
        for level in LEVELS:
            pairs = [_pair(bed, watch, level, pids) for _ in range(loads)]
            ratio = median(ours.rate / theirs.rate for theirs, ours in pairs)
            rates = [median(load.rate for load in side) for side in zip(*pairs, strict=True)]
            cpus = [median(load.cpu for load in side) for side in zip(*pairs, strict=True)]
            rows.append((str(level), *(f"{r:.2f}/s" for r in rates), f"{ratio:.2f}", *(f"{c:.2f} s" for c in cpus)))
            goals.append(Goal(f"throughput, {level} at once: operator / podman run", ratio, LIMIT, "at least"))
            by_part = medians([ours.parts for _, ours in pairs])
            parts.append((str(level), *(ms(by_part[name]) for name in pids)))
            data[str(level)] = {**_data(pairs, ratio), "cpuSecondsByProcess": by_part}
    title = f"Runs per second, real CLI, medians of {loads} loads (CPU: of the whole machine, per run)"
    tables = [Table(title, rows), Table("CPU time per run by the operator, by long-lived process", parts)]
    return Result("throughput", tables, goals, data)


def _pair(bed: Bed, watch: Watch, level: int, pids: dict[str, int]) -> tuple[Load, Load]:
    baseline = bed.baseline(CLI)

    def ours() -> None:
        name = f"load-{next(_numbers)}"
        bed.api.create_run(CLI, name, spec(bed.image))
        watch.finished(name)

    pair = _load(bed, level, lambda: baseline.once(prompt()), {}), _load(bed, level, ours, pids)
    say(f"{level} at once: podman run {pair[0].rate:.2f}/s, operator {pair[1].rate:.2f}/s")
    return pair


def _load(bed: Bed, level: int, once: Callable[[], Any], pids: dict[str, int]) -> Load:
    runs = max(LEAST, level * A_WORKER)
    bed.quiet()
    before = {name: proc.cpu(pid) for name, pid in pids.items()}
    busy, began = proc.cpu_of_all(), time.monotonic()
    with ThreadPoolExecutor(level) as pool:
        for done in [pool.submit(once) for _ in range(runs)]:
            done.result()
    took = time.monotonic() - began
    bed.quiet()
    parts = {name: (proc.cpu(pid) - before[name]) / runs for name, pid in pids.items()}
    return Load(runs / took, (proc.cpu_of_all() - busy) / runs, parts)


def _data(pairs: list[tuple[Load, Load]], ratio: float) -> dict[str, Any]:
    return {
        "ratio": round(ratio, 3),
        "podmanRun": [round(theirs.rate, 3) for theirs, _ in pairs],
        "operator": [round(ours.rate, 3) for _, ours in pairs],
        "cpuSecondsPodmanRun": [round(theirs.cpu, 3) for theirs, _ in pairs],
        "cpuSecondsOperator": [round(ours.cpu, 3) for _, ours in pairs],
    }
