"""The cost of forking a session with large installs, in time and disk, compared with a bare `podman commit`.

Three measurements are interleaved: a plain run, a run in a new fork, and a commit as a user would type it. The cost of
a fork is the time of its run minus that of the plain run in the same round. Forks and commits are removed before the
next one.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from itertools import count
from statistics import median

from stromboli import naming
from tests.benchmarks import applied, sessions, storage
from tests.benchmarks.bed import Bed, say, spec
from tests.benchmarks.numbers import spread
from tests.benchmarks.result import Result, Table
from tests.benchmarks.storage import mb
from tests.benchmarks.watch import Watch

CLI = "real"
PARENT = "installed"
# 400 MB: 6,000 files of 20 kB, and seven of 40 MB.
INSTALLS = (6000, 20_000, 7, 40_000_000)

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds of each measurement, and the disk usage of the two copies in bytes."""

    plain: float
    fork: float
    commit: float
    fork_disk: int
    commit_disk: int


def measure(bed: Bed, rounds: int) -> Result:
    """Measure `rounds` rounds of the three."""
    with bed.operator(), Watch(bed.api, CLI) as watch:
        say("a session with 400 MB of installs …")
        before = storage.of_podman(bed)
        with sessions.begun(bed, watch, PARENT, {"onCreateCommand": [sessions.installs(*INSTALLS)]}) as uid:
            session = storage.of_podman(bed) - before
            done = []
            for number in range(rounds):
                one = _round(bed, watch, uid)
                done.append(one)
                say(
                    f"round {number + 1} of {rounds}: plain run {one.plain:.1f} s, in a fork {one.fork:.1f} s, "
                    f"podman commit {one.commit:.1f} s"
                )
    return _result(done, session)


def _round(bed: Bed, watch: Watch, uid: str) -> Round:
    number = next(_numbers)
    fork, image = f"fork-{number}", f"localhost/bench/commit:{number}"
    plain = _run(bed, watch, f"plain-{number}", spec(bed.image))
    before = _settled(bed)
    began = time.monotonic()
    bed.podman.run("commit", "--quiet", naming.agent(uid).name, image)
    commit = time.monotonic() - began
    commit_disk = storage.of_podman(bed) - before
    bed.podman.run("rmi", image)
    before = _settled(bed)
    forked = _run(bed, watch, f"forked-{number}", {**spec(bed.image), **sessions.of(fork, PARENT)})
    sessions.idle(bed, CLI, fork)
    fork_disk = storage.of_podman(bed) - before
    sessions.delete(bed, CLI, fork)
    return Round(plain, forked, commit, fork_disk, commit_disk)


def _run(bed: Bed, watch: Watch, name: str, given: dict[str, object]) -> float:
    _settled(bed)
    done = applied.by_kubectl(bed, watch, name, given)
    return done.seen - done.asked


def _settled(bed: Bed) -> int:
    """Podman's disk usage after a sync: a fork ends with a sync, which must not flush earlier writes too."""
    os.sync()
    return storage.of_podman(bed)


def _result(done: list[Round], session: int) -> Result:
    times = {
        "plain run": [one.plain for one in done],
        "run in a new fork": [one.fork for one in done],
        "the fork: their difference": [one.fork - one.plain for one in done],
        "podman commit alone": [one.commit for one in done],
    }
    disks = {
        "the fork: their difference": [one.fork_disk for one in done],
        "podman commit alone": [one.commit_disk for one in done],
    }
    rows: list[tuple[str, ...]] = [("", "median", "min", "max", "disk")]
    for name, taken in times.items():
        disk = mb(median(disks[name])) if name in disks else ""
        rows.append((name, *(f"{seconds:.2f} s" for seconds in (median(taken), min(taken), max(taken))), disk))
    rows.append(("the forked session", "", "", "", mb(session)))
    return Result(
        name="fork",
        tables=[Table(f"A fork of a session with 400 MB of installs, real CLI, {len(done)} rounds", rows)],
        goals=[],
        data={
            "plain": spread([one.plain for one in done]),
            "fork": spread([one.fork for one in done]),
            "difference": spread([one.fork - one.plain for one in done]),
            "commit": spread([one.commit for one in done]),
            "bytes": {
                "session": session,
                "fork": median(one.fork_disk for one in done),
                "commit": median(one.commit_disk for one in done),
            },
        },
    )
