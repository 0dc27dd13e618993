"""The time of one run, from `kubectl apply` until a watch sees `Succeeded`, compared with `podman run`.

Three measurements are interleaved: `podman run`; `kubectl apply`, timed from kubectl's start; and a create request sent
directly to the API server, timed from the request. Each starts only after the clean-up of the previous one.
The stages of a run are measured afterwards, with the traced operator.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import count
from statistics import median
from typing import Any

from tests.benchmarks import applied, stages
from tests.benchmarks.bed import Bed, prompt, say, spec
from tests.benchmarks.numbers import Goal, fine, ms, rounded, spread
from tests.benchmarks.result import Result, Table
from tests.benchmarks.stages import RECONCILE, Traced
from tests.benchmarks.watch import Watch

GOALS = {"real": 1.0, "instant": 1.3}
TRACED_RUNS = 8
PODMAN, KUBECTL, REQUEST = "podman run", "kubectl apply", "create request"

_numbers = count(1)


def measure(bed: Bed, cli: str, runs: int) -> Result:
    """Measure `runs` rounds of the three, then the stages."""
    with bed.operator():
        samples = _interleaved(bed, cli, runs)
    middle = {side: median(taken) for side, taken in samples.items()}
    rows: list[tuple[str, ...]] = [("", "median", "min", "max", "ratio")]
    for side, taken in samples.items():
        rows.append((side, *map(ms, (middle[side], min(taken), max(taken))), f"{middle[side] / middle[PODMAN]:.2f}"))
    tables, traced = _where_it_goes(bed, cli, min(runs, TRACED_RUNS))
    ratio = middle[KUBECTL] / middle[PODMAN]
    return Result(
        name=f"one-run-{cli}",
        tables=[Table(f"One run, {cli} CLI, {runs} rounds", rows), *tables],
        goals=[Goal(f"one run, {cli} CLI: kubectl apply / podman run", ratio, GOALS[cli], "at most")],
        data={
            "seconds": {side: spread(taken) for side, taken in samples.items()},
            "ratio": {side: round(middle[side] / middle[PODMAN], 3) for side in (KUBECTL, REQUEST)},
            **traced,
        },
    )


def _interleaved(bed: Bed, cli: str, runs: int) -> dict[str, list[float]]:
    baseline = bed.baseline(cli)
    with Watch(bed.api, cli) as watch:
        sides: dict[str, Callable[[], float]] = {
            PODMAN: lambda: baseline.once(prompt()),
            KUBECTL: lambda: _took(_by_kubectl(bed, watch)),
            REQUEST: lambda: _took(_by_request(bed, cli, watch)),
        }
        samples: dict[str, list[float]] = {side: [] for side in sides}
        for side in sides:  # warm-up, not measured: page cache, kubectl's discovery cache
            sides[side]()
        for number in range(runs):
            for side, once in sides.items():
                bed.quiet()
                samples[side].append(once())
            say(
                f"{cli} CLI, round {number + 1} of {runs}: " + ", ".join(f"{s} {ms(t[-1])}" for s, t in samples.items())
            )
        bed.quiet()
    return samples


def _took(traced: Traced) -> float:
    return traced.seen - traced.asked


def _by_kubectl(bed: Bed, watch: Watch) -> Traced:
    return applied.by_kubectl(bed, watch, f"run-{next(_numbers)}", spec(bed.image))


def _by_request(bed: Bed, cli: str, watch: Watch) -> Traced:
    name = f"run-{next(_numbers)}"
    asked = time.monotonic()
    bed.api.create_run(cli, name, spec(bed.image))
    seen = watch.finished(name)
    return applied.traced(bed, seen.obj, asked, None, seen.finished)


def _where_it_goes(bed: Bed, cli: str, runs: int) -> tuple[list[Table], dict[str, Any]]:
    """Medians of the stages and calls of a few traced runs."""
    trace = bed.folder / f"trace-{cli}.jsonl"
    done = []
    with bed.operator(trace), Watch(bed.api, cli) as watch:
        for _ in range(runs):
            done.append(_by_kubectl(bed, watch))
            bed.quiet()
    found = stages.of_several(done, stages.load(trace), time.monotonic() - time.time())
    tables = [
        Table(f"Stages of a run, {cli} CLI: medians of {runs} runs", list(_stage_rows(found.stages, found.clean_up))),
        Table(
            f"The operator's calls, {cli} CLI: medians of {runs} runs, including clean-up",
            [
                ("", "calls", "total"),
                *((n, f"{found.counts[n]:g}", fine(t)) for n, t in found.calls.items() if n != RECONCILE),
            ],
        ),
    ]
    data = {"stages": rounded(found.stages), "cleanUp": round(found.clean_up, 4), "calls": rounded(found.calls)}
    return tables, data


def _stage_rows(by_stage: dict[str, float], after: float) -> Iterator[tuple[str, str, str]]:
    total = sum(by_stage.values())
    yield "stage", "time", "share"
    for name, took in by_stage.items():
        yield name, fine(took), f"{took / total:.0%}"
    yield "sum", fine(total), ""
    yield "afterwards: clean-up, events", fine(after), ""
