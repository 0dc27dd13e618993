"""The number of API-server writes for one simple run, from the server's own metrics, not counting the create itself."""

from __future__ import annotations

import time
from collections import Counter

from tests.benchmarks.bed import Bed, spec
from tests.benchmarks.numbers import Goal, spread
from tests.benchmarks.result import Result, Table
from tests.benchmarks.watch import Watch

LIMIT = 6
CLI = "real"
CREATE = "POST agentruns"
EVENTS = 1.0  # seconds to wait for events, which are written in the background


def measure(bed: Bed, runs: int) -> Result:
    """Count the writes of `runs` runs, one after the other."""
    with bed.operator(), Watch(bed.api, CLI) as watch:
        counted = [_one(bed, watch, f"writes-{number}") for number in range(runs)]
    kinds = sorted({kind for one in counted for kind in one})
    totals = [one.total() for one in counted]
    rows = [("", "per run, at most"), *((kind, str(max(one[kind] for one in counted))) for kind in kinds)]
    return Result(
        name="writes",
        tables=[Table(f"Writes to the API server for one simple run, {runs} runs", [*rows, ("all", str(max(totals)))])],
        goals=[Goal("API-server writes for one simple run", max(totals), LIMIT, "at most")],
        data={"total": spread(totals), "kinds": {kind: max(one[kind] for one in counted) for kind in kinds}},
    )


def _one(bed: Bed, watch: Watch, name: str) -> Counter[str]:
    before = bed.api.writes()
    bed.api.create_run(CLI, name, spec(bed.image))
    watch.finished(name)
    bed.quiet()
    time.sleep(EVENTS)
    return bed.api.writes() - before - Counter({CREATE: 1})
