"""What exists of an attempt that is recorded in the status: its container, its seals, its records."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from stromboli.attempt import records
from stromboli.attempt.usage import is_too_large
from stromboli.models.run import AttemptEntry
from stromboli.plan.attempt import Records
from stromboli.plan.follow import Phase, Seen
from stromboli.plan.redaction import Secrets
from stromboli.podman.container_state import ContainerState

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Trace:
    """Everything observed of one attempt. `state` is None if Podman has no such container of ours. Secrets that the
    attempt was given (`secrets`) are redacted from the texts of `records`, but not from its `stdout`.
    """

    seen: Seen
    state: ContainerState | None
    records: Records
    secrets: Secrets


def boot_id() -> str:
    """The ID of the node's current boot."""
    return BOOT_ID.read_text(encoding="ascii").strip()


def age(pid: int) -> float | None:
    """Seconds since this process was started, by the clock that nobody sets (proc(5), /proc/PID/stat, starttime).

    None if the operator cannot see it.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return max(time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK"), 0.0)
    except (OSError, ValueError, IndexError):
        return None


async def trace(out: Path, attempt: AttemptEntry, secrets: Secrets, container: ContainerState | None = None) -> Trace:
    """What the attempt's folder says, and its session's `container`, which counts as absent if it is None."""
    state = _since(attempt, container)
    found = await asyncio.to_thread(_records, out, secrets)
    seen = Seen(
        phase=_phase(state),
        started=found.started,
        sent=found.sent,
        ended=found.end is not None,
        same_boot=attempt.boot_id == boot_id(),
        exit_code=None if state is None else state.exit_code,
        started_at=None if state is None else state.started_at,
        ended_at=None if state is None else state.finished_at,
        step=f"{found.steps[-1].hook}[{found.steps[-1].index}]" if found.steps else "",
        too_large=found.end is None and await asyncio.to_thread(is_too_large, out),
        ran=None if state is None or not state.alive else age(state.pid),
    )
    return Trace(seen, state, found, secrets)


def _since(attempt: AttemptEntry, state: ContainerState | None) -> ContainerState | None:
    """How the container has been since the attempt was written down: a session's has an end of its last run. One that
    was initialized and put back counts as exited for Podman, although it was never started.
    """
    if state is None or state.alive:
        return state
    if state.started_at is not None and (attempt.started is None or state.started_at >= attempt.started):
        return state
    return replace(state, status="created", exit_code=None, started_at=None, finished_at=None)


def _records(out: Path, secrets: Secrets) -> Records:
    """The records. The folder is created before the attempt is recorded, so if it is missing, it was lost together
    with its seals, and the prompt may have been sent.
    """
    found = records.read(out, secrets)
    return found if os.path.lexists(out) else replace(found, started=True, sent=True)


def _phase(state: ContainerState | None) -> Phase:
    if state is None:
        return Phase.absent
    if state.status in ("running", "paused", "stopping", "removing"):
        return Phase.running
    return Phase.created if state.status in ("created", "configured", "initialized") else Phase.exited
