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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from stromboli import bounds, files

_TERM_SECONDS = 15.0
_KILL_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Process:
    """One process: `started` is field 22 of /proc/PID/stat, in ticks since boot; `stamp` its starter's."""

    pid: int
    started: int
    boot: str
    stamp: str
    argv: tuple[str, ...]


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
    process = Process(pid, _started(pid) or 0, _boot(), stamp, tuple(argv))
    files.write_private(record, json.dumps(asdict(process)).encode())
    return process


def recorded(record: Path) -> Process | None:
    """The process that `record` describes, if it is still there, whoever started it."""
    process = read(record)
    return process if process and alive(process) else None


def read(record: Path) -> Process | None:
    """The process that `record` describes, whatever became of it."""
    try:
        stored = bounds.json_document(record.read_bytes(), bounds.DOCUMENT)
        boot, stamp, argv = str(stored["boot"]), str(stored["stamp"]), tuple(map(str, stored["argv"]))
        return Process(int(stored["pid"]), int(stored["started"]), boot, stamp, argv)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def alive(process: Process) -> bool:
    """Whether this very process runs; one that has ended and was not yet waited for does not."""
    _reap(process.pid)
    return process.boot == _boot() and process.started == _started(process.pid)


def stop(process: Process, term: float = _TERM_SECONDS, kill: float = _KILL_SECONDS) -> bool:
    """TERM, after `term` seconds KILL; True once it has ended, False if `kill` seconds more were too few.

    Its copies end with it. Rootless Podman goes on in a child, to which its parent's end does not always get
    through (seen on 4.3.1).
    """
    together = [process, *_copies(process)]
    ended = [_stop(each, term, kill) for each in together]
    return all(ended)


def _copies(process: Process) -> Iterator[Process]:
    """Processes of its session with the same command line; what comes first in it may have executed the rest."""
    if process.boot != _boot():
        return
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or entry.name == str(process.pid):
            continue
        fields = _stat(int(entry.name))
        if fields and int(fields[3]) == process.pid and int(fields[19]) >= process.started:
            copy = replace(process, pid=int(entry.name), started=int(fields[19]))
            arguments = _argv(copy.pid)[1:]
            if arguments and process.argv[-len(arguments) :] == arguments:
                yield copy


def _stop(process: Process, term: float, kill: float) -> bool:
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


def mentioning(text: str) -> list[int]:
    """Pids of all processes, whoever started them, whose command line has `text` in it."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return [pid for pid in pids if any(text in word for word in _argv(pid))]


def _signal(pidfd: int, number: signal.Signals, seconds: float) -> bool:
    """Send it and wait for the end, at most `seconds`."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _started(pid: int) -> int | None:
    """Start time of a process, None if there is none or it is a zombie."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def _stat(pid: int) -> list[str]:
    """proc(5)'s stat from the state (field 3) on; empty if there is no such process or it is a zombie."""
    try:
        # The name, in parentheses, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [] if fields[0] in "ZX" else fields


def _argv(pid: int) -> tuple[str, ...]:
    try:
        return tuple(Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")[:-1])
    except (FileNotFoundError, ProcessLookupError):
        return ()


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _reap(pid: int) -> None:
    """Let go of a child that has ended; one that another process started has its own parent for that."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
