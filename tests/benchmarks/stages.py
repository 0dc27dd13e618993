"""The stages of one run, from the traced operator's spans, the supervisor's record and the watch.

All times are on the monotonic clock. A stage lasts from the previous moment to its own, so that the stages of a run add
up to its total time.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.numbers import medians

RECONCILE = "reconcile pass"
STATUS, SESSION_STATUS = "API: write status", "API: write session status"
CREATE, START = "Podman: create container", "Podman: start container"
LOOK_UPS = "policy and look-ups"


@dataclass(frozen=True, slots=True)
class Span:
    """One call of the operator."""

    name: str
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Traced:
    """One run seen from outside. `asked` is when kubectl or the request started; `added` is None for a request."""

    uid: str
    asked: float
    added: float | None
    seen: float
    out: Path


def load(trace: Path) -> dict[str, list[Span]]:
    """The spans of each run, by UID, ordered by start time."""
    spans: dict[str, list[Span]] = defaultdict(list)
    for line in trace.read_text(encoding="utf-8").splitlines():
        entry: dict[str, Any] = json.loads(line)
        spans[entry["run"]].append(Span(entry["name"], entry["began"], entry["ended"]))
    return {uid: sorted(found, key=lambda s: s.began) for uid, found in spans.items()}


def stages(run: Traced, spans: Sequence[Span], wall_to_monotonic: float) -> dict[str, float]:
    """Seconds by stage. Of a stage that overlaps the previous one, only the rest is counted."""
    row = [("", run.asked), *_moments(run, spans, wall_to_monotonic)]
    reached, out = run.asked, {}
    for (_, _), (name, at) in pairwise(row):
        out[name] = max(at - reached, 0.0)
        reached = max(at, reached)
    return out


def calls(spans: Sequence[Span]) -> dict[str, tuple[int, float]]:
    """The number of calls and their total time, by name. Calls may overlap, and include those of the clean-up."""
    found: dict[str, tuple[int, float]] = {}
    for span in spans:
        count, took = found.get(span.name, (0, 0.0))
        found[span.name] = (count + 1, took + span.ended - span.began)
    return found


@dataclass(frozen=True, slots=True)
class Stages:
    """Medians of several runs: seconds by stage, of the clean-up, and by call, and the number of calls."""

    stages: dict[str, float]
    clean_up: float
    calls: dict[str, float]
    counts: dict[str, float]


def of_several(runs: Sequence[Traced], spans: Mapping[str, Sequence[Span]], wall_to_monotonic: float) -> Stages:
    """The medians over several runs of one kind."""
    made = [calls(spans[run.uid]) for run in runs]
    return Stages(
        stages=medians([stages(run, spans[run.uid], wall_to_monotonic) for run in runs]),
        clean_up=median(clean_up(run, spans[run.uid]) for run in runs),
        calls=medians([{name: took for name, (_, took) in row.items()} for row in made]),
        counts=medians([{name: float(n) for name, (n, _) in row.items()} for row in made]),
    )


def clean_up(run: Traced, spans: Sequence[Span]) -> float:
    """Seconds from the watch seeing the end until the operator's last call for the run, which no user waits for."""
    return max(max(span.ended for span in spans) - run.seen, 0.0)


def _moments(run: Traced, spans: Sequence[Span], wall_to_monotonic: float) -> Iterator[tuple[str, float]]:
    names = {span.name for span in spans}

    def first(name: str) -> Span:
        return next(span for span in spans if span.name == name)

    def last(name: str, before: float) -> Span:
        return next(span for span in reversed(spans) if span.name == name and span.began <= before)

    record = {k: at + wall_to_monotonic for k, at in _record(run.out).items()}
    writes = [span for span in spans if span.name == STATUS]
    ahead, final = writes[0], writes[-1]
    made = first(CREATE if CREATE in names else START)  # a session's container already exists
    last_pass = last(RECONCILE, final.began)
    # What woke the last pass: usually the end of the wait, otherwise an earlier event.
    noticed = min(last("Podman: wait for the end", final.began).ended, last_pass.began)
    if run.added is not None:
        yield "kubectl: start until the API server has it", run.added
    yield "watch event to the operator", first("woken").ended
    yield "event to the first pass", first(RECONCILE).began
    if SESSION_STATUS in names:
        turn_taken = first(SESSION_STATUS)
        yield LOOK_UPS, turn_taken.began
        yield "session: the turn taken", turn_taken.ended
        yield "session: its container; the attempt's folder", ahead.began
    else:
        yield LOOK_UPS, ahead.began
    yield "write-ahead of the attempt", ahead.ended
    yield "folder, secrets, links", last("folder: links", made.began).ended
    if made.name == CREATE:
        yield "volume", made.began
        yield "container: create", made.ended
    yield "container: start, until the supervisor's first line", record["start"]
    yield "supervisor before the agent", record["begin"]
    yield "agent", record["finish"]
    yield "supervisor after the agent", record["end"]
    yield "end noticed", noticed
    yield "end to the next pass", last_pass.began
    yield "look at container and records", last("records: read", final.began).ended
    yield "outcome", final.began
    yield "terminal status written", final.ended
    yield "seen by the watch", run.seen


def _record(out: Path) -> Mapping[str, float]:
    """The supervisor's record: the time, which is the last word of a line, by the line's first word."""
    lines = (out / "record").read_text(encoding="utf-8").splitlines()
    return {words[0]: float(words[-1]) for line in lines if (words := line.split())}
