"""Detached processes that outlive us, found again by a record on disk.

A pid alone says little: it may have been given to another process, or the machine may have been started
anew. So the record holds the process's start time and the boot as well, and a signal goes through a
pidfd that was compared with them: no process of anyone else's is ever signalled. What the processes are
is no business of this module.
"""

from __future__ import annotations

import json
import os
import select
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from stromboli.controlplane import files

_TERM_SECONDS = 15.0
_KILL_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Process:
    """One process: `started` is field 22 of /proc/PID/stat, in ticks since boot; `stamp` its starter's."""

    pid: int
    started: int
    boot: str
    stamp: str


def spawn(argv: Sequence[str], env: Mapping[str, str], log: Path, record: Path, stamp: str) -> Process:
    """Start `argv` in a session of its own, its output going to `log`, and write it down at `record`.

    The log of the process before it is kept beside it, as `.1`. Raises OSError if it cannot be executed.
    """
    if log.exists():
        log.replace(log.with_name(f"{log.name}.1"))
    # posix_spawn and not subprocess: a Popen object would complain about every child that outlives it.
    pid = os.posix_spawn(
        argv[0],
        list(argv),
        env,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGINT, signal.SIGPIPE, signal.SIGTERM),
    )
    process = Process(pid, _started(pid) or 0, _boot(), stamp)
    files.write_private(record, json.dumps(asdict(process)).encode())
    return process


def recorded(record: Path) -> Process | None:
    """The process that `record` tells of if it is still there, whoever started it."""
    try:
        stored = json.loads(record.read_bytes())
        process = Process(int(stored["pid"]), int(stored["started"]), str(stored["boot"]), str(stored["stamp"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return process if alive(process) else None


def alive(process: Process) -> bool:
    """Whether this very process runs; one that has ended and was not yet waited for does not."""
    _reap(process.pid)
    return process.boot == _boot() and process.started == _started(process.pid)


def stop(process: Process, term: float = _TERM_SECONDS, kill: float = _KILL_SECONDS) -> bool:
    """TERM, after `term` seconds KILL; True once it has ended, False if `kill` seconds more were too few."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        ended = not alive(process) or _signal(pidfd, signal.SIGTERM, term) or _signal(pidfd, signal.SIGKILL, kill)
    finally:
        os.close(pidfd)
    _reap(process.pid)
    return ended


def _signal(pidfd: int, number: signal.Signals, seconds: float) -> bool:
    """Send it and wait for the end, at most `seconds`."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _started(pid: int) -> int | None:
    """Start time of a process, None if there is none or it is a zombie."""
    try:
        # The name, in parentheses, may hold anything; after the last one come state (field 3) and the rest.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _reap(pid: int) -> None:
    """Let go of a child that has ended; one that another process started has its own parent for that."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
