"""From `spec.cancel: true` to the moment at which the node has no process of the run any more."""

from __future__ import annotations

import time
from pathlib import Path

from tests.benchmarks.bed import Bed, spec
from tests.benchmarks.numbers import Goal, spread
from tests.benchmarks.result import Result, Table

CLI = "real"
GRACE = 2.0  # seconds
OBEYS, DEAF = "obeys", "does not"
PROMPTS = {OBEYS: "LOOP{sleep 0.2}", DEAF: "BASH{kill -STOP $PPID; sleep 300}"}
PATIENCE = 30.0


def measure(bed: Bed, runs: int) -> Result:
    """Cancel `runs` runs of each kind, one after the other."""
    with bed.operator():
        took = {kind: [_one(bed, kind, number) for number in range(runs)] for kind in PROMPTS}
    rows = [("the agent", "median", "worst")]
    rows += [(kind, f"{1000 * sorted(t)[len(t) // 2]:.0f} ms", f"{1000 * max(t):.0f} ms") for kind, t in took.items()]
    return Result(
        name="cancel",
        tables=[Table(f"From cancel to no process left, {runs} runs each; grace {GRACE:.0f} s", rows)],
        goals=[
            Goal("cancel, seconds, an agent that obeys", max(took[OBEYS]), 0.3, "at most"),
            Goal("cancel, seconds beyond the grace, one that does not", max(took[DEAF]) - GRACE, 0.3, "at most"),
        ],
        data={kind: spread(each) for kind, each in took.items()},
    )


def _one(bed: Bed, kind: str, number: int) -> float:
    name = f"cancel-{'obeys' if kind == OBEYS else 'deaf'}-{number}"
    asked = spec(bed.image) | {
        "prompt": PROMPTS[kind],
        "terminationGracePeriod": f"{GRACE:.0f}s",
        "claude": {"dangerouslySkipPermissions": True},
    }
    uid = bed.api.create_run(CLI, name, asked)["metadata"]["uid"]
    with bed.podman_api() as podman:
        pid = _at_work(bed, podman.get, uid, kind)
        began = time.monotonic()
        bed.api.change_run(CLI, name, {"cancel": True})
        while Path(f"/proc/{pid}").exists():
            if time.monotonic() - began > PATIENCE:
                raise TimeoutError(f"{name} is still there after {PATIENCE:.0f} s")
            time.sleep(0.002)
        took = time.monotonic() - began
    bed.quiet()
    return took


def _at_work(bed: Bed, get: object, uid: str, kind: str) -> int:
    """The process of the run's supervisor, once its agent uses a tool."""
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit:
        found = get(f"containers/stromboli-{uid}/json")  # type: ignore[operator]
        state = found.json().get("State", {}) if found.status_code == 200 else {}
        pid = int(state.get("Pid") or 0)
        words = b"sleep\x00" if kind == OBEYS else b"sleep\x00300"
        if pid and any(words in line for line in _below(pid)):
            return pid
        time.sleep(0.02)
    raise TimeoutError(f"the agent of {uid} is not at work")


def _below(pid: int) -> list[bytes]:
    """The command lines of the processes in the same container."""
    try:
        space = Path(f"/proc/{pid}/ns/pid").readlink()
    except OSError:
        return []
    found = []
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            try:
                if (each / "ns/pid").readlink() == space:
                    found.append((each / "cmdline").read_bytes())
            except OSError:
                continue
    return found
