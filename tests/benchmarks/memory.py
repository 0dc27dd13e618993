"""The operator's memory and restart time with a thousand finished runs in the cluster.

The finished runs are created through the API with the status of a real one. They are not deleted, so this benchmark is
the last.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from tests.benchmarks import proc
from tests.benchmarks.api import Object
from tests.benchmarks.bed import Bed, say, spec
from tests.benchmarks.numbers import Goal, spread
from tests.benchmarks.result import Result, Table
from tests.benchmarks.watch import Watch
from tests.support.operator import OperatorProcess

FINISHED = 1000
MEGABYTES, SECONDS = 120.0, 5.0
CLI = "instant"
AT_REST = 0.05  # of a core
UNTIL_AT_REST = 60.0


def measure(bed: Bed, restarts: int) -> Result:
    """Start the operator `restarts` times with the finished runs in the cluster."""
    with bed.operator(), Watch(bed.api, CLI) as watch:
        bed.api.create_run(CLI, "pattern", spec(bed.image))
        pattern = watch.finished("pattern").obj["status"]
        bed.quiet()
    say(f"creating {FINISHED} finished runs …")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: _make(bed, f"finished-{number:04}", pattern), range(FINISHED)))
    found = len(bed.api.runs(CLI)["items"])
    taken = [_restart(bed.process()) for _ in range(restarts)]
    starts, memory, peaks = ([one[n] for one in taken] for n in range(3))
    rows = [
        ("", "median", "max"),
        ("restart until ready", f"{median(starts):.2f} s", f"{max(starts):.2f} s"),
        ("memory at rest (VmRSS)", f"{median(memory):.0f} MB", f"{max(memory):.0f} MB"),
        ("memory at its peak (VmHWM)", f"{median(peaks):.0f} MB", f"{max(peaks):.0f} MB"),
    ]
    return Result(
        name="memory",
        tables=[Table(f"The operator with {found} finished runs, {restarts} starts", rows)],
        goals=[
            Goal("operator memory after start", median(memory), MEGABYTES, "at most", " MB"),
            Goal("restart until ready", median(starts), SECONDS, "at most", " s"),
        ],
        data={
            "finishedRuns": found,
            "ready": spread(starts),
            "restMegabytes": spread(memory),
            "peakMegabytes": spread(peaks),
        },
    )


def _make(bed: Bed, name: str, status: Object) -> None:
    bed.api.write_status(bed.api.create_run(CLI, name, spec(bed.image)), status)


def _restart(operator: OperatorProcess) -> tuple[float, float, float]:
    """Seconds until ready, and megabytes at rest and at the peak."""
    took = operator.start()
    try:
        _until_at_rest(operator.pid)
        memory = proc.megabytes(operator.pid)
    finally:
        operator.stop()
    return took, *memory


def _until_at_rest(pid: int) -> None:
    """Wait until it has used almost no CPU for a second: its watches have delivered every object by then."""
    limit, before = time.monotonic() + UNTIL_AT_REST, proc.cpu(pid)
    while time.monotonic() < limit:
        time.sleep(1.0)
        now = proc.cpu(pid)
        if now - before < AT_REST:
            return
        before = now
    raise TimeoutError(f"the operator was still busy after {UNTIL_AT_REST:.0f} s")
