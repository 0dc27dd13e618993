"""One run by `kubectl apply`, timed from outside: from kubectl's start until a watch has seen the run finish."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

from tests.benchmarks.api import run
from tests.benchmarks.bed import Bed
from tests.benchmarks.stages import Traced
from tests.benchmarks.watch import Watch
from tests.support.wire import session_of


def by_kubectl(bed: Bed, watch: Watch, name: str, spec: dict[str, Any]) -> Traced:
    """Apply a run in the watch's namespace with kubectl and wait until it has finished, timed from kubectl's start."""
    file = bed.folder / "run.json"
    file.write_text(json.dumps(run(watch.namespace, name, spec)), encoding="utf-8")
    command, environ = bed.kubectl_apply(file)
    asked = time.monotonic()
    with subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        seen = watch.finished(name)
    if process.returncode:
        raise RuntimeError(f"kubectl apply ended with {process.returncode}")
    return traced(bed, seen.obj, asked, seen.added, seen.finished)


def traced(bed: Bed, obj: dict[str, Any], asked: float, added: float | None, seen: float) -> Traced:
    """The times of a finished run, with the folder of its supervisor's record."""
    uid, number = obj["metadata"]["uid"], obj["status"]["attempts"][-1]["number"]
    out = bed.home / "sessions" / session_of(obj) / "attempts" / f"{uid}-{number}" / "out"
    return Traced(uid, asked, added, seen, out)
