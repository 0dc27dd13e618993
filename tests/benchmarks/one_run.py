"""One run, from `kubectl apply` to `Succeeded` as a watch sees it, against `podman run`, interleaved in one go.

Three measurements take turns: `podman run`; `kubectl apply`, timed from kubectl's start; and a create request
sent straight to the API server, timed from there. Nothing else of a run is left over when the next begins.
Where the time goes is measured afterwards, by the operator with a stop-watch.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import count
from statistics import median
from typing import Any

from tests.benchmarks import stages
from tests.benchmarks.api import run
from tests.benchmarks.bed import Bed, prompt, say, spec
from tests.benchmarks.numbers import Goal, medians, ms, spread
from tests.benchmarks.result import Result, Table
from tests.benchmarks.stages import Traced
from tests.benchmarks.watch import Watch

GOALS = {"real": 1.0, "instant": 1.3}
TRACED_RUNS = 8
PODMAN, KUBECTL, REQUEST = "podman run", "kubectl apply", "create request"

_numbers = count(1)


def measure(bed: Bed, cli: str, runs: int) -> Result:
    """`runs` rounds of the three, then the stages."""
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
            KUBECTL: lambda: _took(_by_kubectl(bed, cli, watch)),
            REQUEST: lambda: _took(_by_request(bed, cli, watch)),
        }
        samples: dict[str, list[float]] = {side: [] for side in sides}
        for side in sides:  # each once unmeasured: page cache, kubectl's discovery cache
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


def _by_kubectl(bed: Bed, cli: str, watch: Watch) -> Traced:
    """`kubectl apply -f FILE`, timed from its start; it is not waited for."""
    name = f"run-{next(_numbers)}"
    file = bed.folder / "run.json"
    file.write_text(json.dumps(run(cli, name, spec(bed.image))), encoding="utf-8")
    command, environ = bed.kubectl_apply(file)
    asked = time.monotonic()
    with subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        seen = watch.finished(name)
    if process.returncode:
        raise RuntimeError(f"kubectl apply ended with {process.returncode}")
    return _traced(bed, seen.obj, asked, seen.added, seen.finished)


def _by_request(bed: Bed, cli: str, watch: Watch) -> Traced:
    name = f"run-{next(_numbers)}"
    asked = time.monotonic()
    bed.api.create_run(cli, name, spec(bed.image))
    seen = watch.finished(name)
    return _traced(bed, seen.obj, asked, None, seen.finished)


def _traced(bed: Bed, obj: dict[str, Any], asked: float, added: float | None, seen: float) -> Traced:
    uid, number = obj["metadata"]["uid"], obj["status"]["attempts"][-1]["number"]
    out = bed.home / "sessions" / uid / "attempts" / f"{uid}-{number}" / "out"
    return Traced(uid, asked, added, seen, out)


def _where_it_goes(bed: Bed, cli: str, runs: int) -> tuple[list[Table], dict[str, Any]]:
    """Stages and calls of a few runs, medians each."""
    trace = bed.folder / f"trace-{cli}.jsonl"
    done = []
    with bed.operator(trace), Watch(bed.api, cli) as watch:
        for _ in range(runs):
            done.append(_by_kubectl(bed, cli, watch))
            bed.quiet()
    spans = stages.load(trace)
    offset = time.monotonic() - time.time()
    by_stage = medians([stages.stages(run, spans[run.uid], offset) for run in done])
    after = median(stages.clean_up(run, spans[run.uid]) for run in done)
    calls = [stages.calls(spans[run.uid]) for run in done]
    by_call = medians([{name: took for name, (_, took) in row.items()} for row in calls])
    counts = medians([{name: float(n) for name, (n, _) in row.items()} for row in calls])
    tables = [
        Table(f"Where the time goes, {cli} CLI: medians of {runs} runs", list(_stage_rows(by_stage, after))),
        Table(
            f"The operator's calls, {cli} CLI: medians of {runs} runs, clean-up included",
            [("", "times", "together"), *((n, f"{counts[n]:g}", _fine(t)) for n, t in by_call.items() if n != "turn")],
        ),
    ]
    return tables, {"stages": _rounded(by_stage), "cleanUp": round(after, 4), "calls": _rounded(by_call)}


def _stage_rows(by_stage: dict[str, float], after: float) -> Iterator[tuple[str, str, str]]:
    total = sum(by_stage.values())
    yield "stage", "time", "share"
    for name, took in by_stage.items():
        yield name, _fine(took), f"{took / total:.0%}"
    yield "sum", _fine(total), ""
    yield "afterwards: clean-up, events", _fine(after), ""


def _fine(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 5) for name, value in values.items()}
