"""Many runs at once: finished runs a second by the operator and by `podman run`, at the same concurrency.

Loads take turns: `podman run`, operator, `podman run`, … Each load is N workers that begin the next run as soon as
theirs has ended. Beside the runs a second stands what a run costs the whole machine in CPU time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.bed import Bed, prompt, say, spec
from tests.benchmarks.numbers import Goal
from tests.benchmarks.result import Result, Table
from tests.benchmarks.watch import Watch

LEVELS = (1, 2, 4, 8)
A_WORKER = 2  # runs of each worker in one load
LEAST = 4  # runs in one load
LIMIT = 0.85
CLI = "real"

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Load:
    """One load: runs a second, and seconds of CPU that the machine spent for each run, clean-up included."""

    rate: float
    cpu: float


def measure(bed: Bed, loads: int) -> Result:
    """`loads` loads of each side at every level."""
    rows: list[tuple[str, ...]] = [("at once", "podman run", "operator", "ratio", "podman CPU", "operator CPU")]
    goals, data = [], {}
    with bed.operator(), Watch(bed.api, CLI) as watch:
        for level in LEVELS:
            pairs = [_pair(bed, watch, level) for _ in range(loads)]
            ratio = median(ours.rate / theirs.rate for theirs, ours in pairs)
            rates = [median(load.rate for load in side) for side in zip(*pairs, strict=True)]
            cpus = [median(load.cpu for load in side) for side in zip(*pairs, strict=True)]
            rows.append((str(level), *(f"{r:.2f}/s" for r in rates), f"{ratio:.2f}", *(f"{c:.2f} s" for c in cpus)))
            goals.append(Goal(f"throughput, {level} at once: operator / podman run", ratio, LIMIT, "at least"))
            data[str(level)] = _data(pairs, ratio)
    title = f"Runs a second, real CLI, medians of {loads} loads (CPU: of the whole machine, a run)"
    return Result("throughput", [Table(title, rows)], goals, data)


def _pair(bed: Bed, watch: Watch, level: int) -> tuple[Load, Load]:
    baseline = bed.baseline(CLI)

    def ours() -> None:
        name = f"load-{next(_numbers)}"
        bed.api.create_run(CLI, name, spec(bed.image))
        watch.finished(name)

    pair = _load(bed, level, lambda: baseline.once(prompt())), _load(bed, level, ours)
    say(f"{level} at once: podman run {pair[0].rate:.2f}/s, operator {pair[1].rate:.2f}/s")
    return pair


def _load(bed: Bed, level: int, once: Callable[[], Any]) -> Load:
    runs = max(LEAST, level * A_WORKER)
    bed.quiet()
    busy, began = _cpu(), time.monotonic()
    with ThreadPoolExecutor(level) as pool:
        for done in [pool.submit(once) for _ in range(runs)]:
            done.result()
    took = time.monotonic() - began
    bed.quiet()
    return Load(runs / took, (_cpu() - busy) / runs)


def _cpu() -> float:
    """Seconds that all cores together were busy since the start of the machine (proc(5), /proc/stat, in 1/100 s)."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / 100


def _data(pairs: list[tuple[Load, Load]], ratio: float) -> dict[str, Any]:
    return {
        "ratio": round(ratio, 3),
        "podmanRun": [round(theirs.rate, 3) for theirs, _ in pairs],
        "operator": [round(ours.rate, 3) for _, ours in pairs],
        "cpuSecondsPodmanRun": [round(theirs.cpu, 3) for theirs, _ in pairs],
        "cpuSecondsOperator": [round(ours.cpu, 3) for _, ours in pairs],
    }
