"""A later run in a session, with a stack of three services that is up and without; and what a stack costs at rest."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from statistics import median
from typing import Any

from tests.benchmarks import applied, compose, sessions
from tests.benchmarks.bed import Bed, prompt, say, spec
from tests.benchmarks.numbers import Goal, ms, spread
from tests.benchmarks.result import Result, Table
from tests.benchmarks.watch import Watch

LIMIT = 1.1
CLI = "real"
PLAIN, STACK = "in a session without a stack", "in a session with a stack"
SETTLE = 5.0  # for what is written after a run's end
AT_REST = 20.0  # seconds that are watched, with a health check a second of two services
_numbers = count(1)


def measure(bed: Bed, pairs: int) -> Result:
    """Measure `pairs` pairs of runs, from `kubectl apply` until they have finished, and then the stack at rest."""
    environment = compose.environment(compose.written(bed))
    with (
        bed.operator(),
        Watch(bed.api, CLI) as watch,
        _begun(bed, watch, "plain", spec(bed.image)) as plain,
        _begun(bed, watch, "stacked", {"prompt": prompt(), **environment}) as stacked,
    ):
        samples: dict[str, list[float]] = {PLAIN: [], STACK: []}
        for number in range(-1, pairs):  # the first pair is a warm-up
            for side, session in ((PLAIN, plain), (STACK, stacked)):
                done = applied.by_kubectl(bed, watch, f"{session}-{next(_numbers)}", sessions.resumed(session))
                sessions.idle(bed, CLI, session)
                if number >= 0:
                    samples[side].append(done.seen - done.asked)
            if number >= 0:
                took = ", ".join(f"{side} {ms(taken[-1])}" for side, taken in samples.items())
                say(f"pair {number + 1} of {pairs}: {took}")
        time.sleep(SETTLE)
        before = bed.api.writes()
        time.sleep(AT_REST)
        writes = (bed.api.writes() - before).total()
    middle = {side: median(taken) for side, taken in samples.items()}
    rows: list[tuple[str, ...]] = [("a later run", "median", "min", "max")]
    rows += [(side, *map(ms, (middle[side], min(taken), max(taken)))) for side, taken in samples.items()]
    return Result(
        name="compose-session",
        tables=[
            Table(f"A later run in a session, real CLI, {pairs} pairs", rows),
            Table(f"A healthy stack at rest, {AT_REST:g} s", [("", "number"), ("API-server writes", str(writes))]),
        ],
        goals=[
            Goal("later run: with a stack / without", middle[STACK] / middle[PLAIN], LIMIT, "at most"),
            Goal("API-server writes of a healthy stack at rest", writes, 0, "at most"),
        ],
        data={"seconds": {side: spread(taken) for side, taken in samples.items()}, "writesAtRest": writes},
    )


@contextmanager
def _begun(bed: Bed, watch: Watch, name: str, first: dict[str, Any]) -> Iterator[str]:
    """A session that one run has begun; deleted after the block, with everything that it has in Podman."""
    bed.api.create_run(watch.namespace, f"{name}-begins", {**first, **sessions.of(name)})
    watch.finished(f"{name}-begins")
    uid = sessions.idle(bed, watch.namespace, name)
    yield name
    bed.api.delete_session(watch.namespace, name)
    compose.gone(bed, uid)
