"""The time of a run in an existing session compared with a run outside one, both from `kubectl apply`.

The session was initialised by a hook that does not run again. The two sides are interleaved; their stages are measured
afterwards, with the traced operator.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from statistics import median

from tests.benchmarks import applied, sessions, stages
from tests.benchmarks.bed import Bed, say, spec
from tests.benchmarks.numbers import Goal, fine, ms, rounded, spread, union
from tests.benchmarks.result import Result, Table
from tests.benchmarks.stages import Stages, Traced
from tests.benchmarks.watch import Watch

LIMIT = 1.05
CLI = "real"
TRACED_PAIRS = 4
FRESH, RESUMED = "fresh run", "resumed run"
HOOKS = {"onCreateCommand": ["echo installed >/usr/lib/installed"]}

_numbers = count(1)


def measure(bed: Bed, pairs: int) -> Result:
    """Measure `pairs` pairs, then the stages of a few more."""
    name = "resume"
    with bed.operator(), Watch(bed.api, CLI) as watch, sessions.begun(bed, watch, name, HOOKS):
        runs = _interleaved(bed, watch, name, pairs)
    samples = {side: [run.seen - run.asked for run in done] for side, done in runs.items()}
    middle = {side: median(taken) for side, taken in samples.items()}
    rows: list[tuple[str, ...]] = [("", "median", "min", "max", "ratio")]
    for side, taken in samples.items():
        rows.append((side, *map(ms, (middle[side], min(taken), max(taken))), f"{middle[side] / middle[FRESH]:.2f}"))
    ratio = middle[RESUMED] / middle[FRESH]
    each = [resumed / fresh for fresh, resumed in zip(samples[FRESH], samples[RESUMED], strict=True)]
    rows.append(("ratio by pair", *(f"{value:.2f}" for value in (median(each), min(each), max(each))), ""))
    where = _where_it_goes(bed, min(pairs, TRACED_PAIRS))
    return Result(
        name="resume",
        tables=[Table(f"A run in a session, real CLI, {pairs} pairs", rows), _beside(where)],
        goals=[Goal("resumed run / fresh run, real CLI", ratio, LIMIT, "at most")],
        data={
            "seconds": {side: spread(taken) for side, taken in samples.items()},
            "ratio": round(ratio, 3),
            "ratioOfEachPair": spread(each),
            "stages": {side: rounded(found.stages) for side, found in where.items()},
            "cleanUp": {side: round(found.clean_up, 4) for side, found in where.items()},
        },
    )


def _interleaved(bed: Bed, watch: Watch, session: str, pairs: int) -> dict[str, list[Traced]]:
    """The runs of both sides. Each starts after the clean-up of the previous one."""

    def fresh() -> Traced:
        return applied.by_kubectl(bed, watch, f"fresh-{next(_numbers)}", spec(bed.image))

    def resumed() -> Traced:
        return applied.by_kubectl(bed, watch, f"resumed-{next(_numbers)}", sessions.resumed(session))

    sides: dict[str, Callable[[], Traced]] = {FRESH: fresh, RESUMED: resumed}
    runs: dict[str, list[Traced]] = {side: [] for side in sides}
    for once in sides.values():  # warm-up, not measured: page cache, kubectl's discovery cache
        once()
        sessions.idle(bed, CLI, session)
    for number in range(pairs):
        for side, once in sides.items():
            runs[side].append(once())
            sessions.idle(bed, CLI, session)
        took = ", ".join(f"{side} {ms(done[-1].seen - done[-1].asked)}" for side, done in runs.items())
        say(f"pair {number + 1} of {pairs}: {took}")
    return runs


def _where_it_goes(bed: Bed, pairs: int) -> dict[str, Stages]:
    """The stages of both sides, read before the session is deleted together with its records."""
    name, trace = "resume-traced", bed.folder / "trace-resume.jsonl"
    with bed.operator(trace), Watch(bed.api, CLI) as watch, sessions.begun(bed, watch, name, HOOKS):
        runs = _interleaved(bed, watch, name, pairs)
        spans, offset = stages.load(trace), time.monotonic() - time.time()
        return {side: stages.of_several(done, spans, offset) for side, done in runs.items()}


def _beside(where: dict[str, Stages]) -> Table:
    """A table of both sides' stages; a stage that one side lacks is empty there."""
    fresh, resumed = where[FRESH], where[RESUMED]

    def row(name: str, *values: float | None) -> tuple[str, ...]:
        return name, *("" if value is None else fine(value) for value in values)

    rows: list[tuple[str, ...]] = [("stage", FRESH, RESUMED)]
    for name in union(list(fresh.stages), list(resumed.stages)):
        rows.append(row(name, fresh.stages.get(name), resumed.stages.get(name)))
    rows.append(row("sum", sum(fresh.stages.values()), sum(resumed.stages.values())))
    rows.append(row("afterwards: clean-up, events", fresh.clean_up, resumed.clean_up))
    return Table("Stages of both, medians", rows)
