"""Disk usage of a session after many runs, compared with the same files written once.

The first run installs files, and each run rewrites one small file. The growth of Podman's storage since before the
session is compared with a plain copy of the final files: those of the container's writable layer and of the volume. A
container, layer or file that each run leaves behind would show up.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from stromboli import naming
from tests.benchmarks import sessions, storage
from tests.benchmarks.bed import Bed, say
from tests.benchmarks.numbers import Goal
from tests.benchmarks.result import Result, Table
from tests.benchmarks.storage import mb
from tests.benchmarks.watch import Watch

LIMIT = 1.2
CLI = "real"
NAME = "many-runs"
# 20 MB: 500 files of 20 kB, and two of 5 MB. Each run overwrites another file of 1 MB.
INSTALLS = (500, 20_000, 2, 5_000_000)
HOOKS = {
    "onCreateCommand": [sessions.installs(*INSTALLS)],
    "postStart": [f"head -c 1000000 /dev/urandom >{sessions.INSTALLS}/of-each-run"],
}


def measure(bed: Bed, runs: int) -> Result:
    """Measure `runs` runs in one session, including the first."""
    with bed.operator(), Watch(bed.api, CLI) as watch:
        before = storage.of_podman(bed)
        with sessions.begun(bed, watch, NAME, HOOKS) as uid:
            first = storage.of_podman(bed) - before
            for number in range(2, runs + 1):
                name = f"{NAME}-{number}"
                bed.api.create_run(CLI, name, sessions.resumed(NAME))
                watch.finished(name)
                sessions.idle(bed, CLI, NAME)
                if number % 5 == 0:
                    say(f"run {number} of {runs}")
            last = storage.of_podman(bed) - before
            layer, volume = _places(bed, uid)
            once = _written_once(bed, layer, volume)
            parts = storage.taken(layer), storage.taken(volume)
            attempts = storage.taken(bed.home / "sessions" / uid)
    rows = [
        ("", "disk"),
        ("after the first run", mb(first)),
        (f"after {runs} runs", mb(last)),
        ("  of which the container's files", mb(parts[0])),
        ("  of which the volume", mb(parts[1])),
        ("the same files written once", mb(once)),
        ("in addition, the operator's records of the runs", mb(attempts)),
    ]
    return Result(
        name="disk",
        tables=[Table(f"Podman's storage for a session of {runs} runs, real CLI", rows)],
        goals=[Goal(f"disk of a session of {runs} runs / its files once", last / once, LIMIT, "at most")],
        data={
            "runs": runs,
            "bytes": {
                "firstRun": first,
                "allRuns": last,
                "container": parts[0],
                "volume": parts[1],
                "writtenOnce": once,
                "records": attempts,
            },
        },
    )


def _places(bed: Bed, uid: str) -> tuple[Path, Path]:
    """The folders of the writable layer of the session's container, and of its volume."""
    layer = bed.podman.run("inspect", "--format", "{{.GraphDriver.Data.UpperDir}}", naming.agent(uid).name)
    volume = bed.podman.run("volume", "inspect", "--format", "{{.Mountpoint}}", naming.volume(uid))
    return Path(layer), Path(volume)


def _written_once(bed: Bed, *folders: Path) -> int:
    """Bytes that plain copies of the folders take."""
    target = bed.folder / "written-once"
    target.mkdir()
    subprocess.run(["cp", "--archive", *map(str, folders), str(target)], check=True, timeout=60)
    return storage.taken(target)
