"""Detached processes that outlive their starter, found again by a record on disk.

A PID alone does not identify a process: it may have been reused, or the machine rebooted. The record therefore includes
the process's start time and the boot ID, and signals are sent through a pidfd after comparing them, so that no other
process is ever signalled. This module does not know what the processes are.
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
    """One process. `started` is field 22 of /proc/PID/stat, in clock ticks since boot; `stamp` is the caller's."""

    pid: int
    started: int
    boot: str
    stamp: str
    argv: tuple[str, ...]


def spawn(argv: Sequence[str], env: Mapping[str, str], log: Path, record: Path, stamp: str) -> Process:
    """Start `argv` in a new session with its output in `log`, and store the process in the file `record`.

    The previous log is kept with the suffix `.1`. The process gets no other file of ours: it would keep a caller's lock
    or pipe open for as long as it lives. Raises OSError if the program cannot be executed.
    """
    if log.exists():
        log.replace(log.with_name(f"{log.name}.1"))
    # posix_spawn, not subprocess: a Popen object issues a ResourceWarning for a child that outlives it.
    pid = os.posix_spawn(
        argv[0],
        list(argv),
        env,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            *((os.POSIX_SPAWN_CLOSE, fd) for fd in _inheritable()),
        ],
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGINT, signal.SIGPIPE, signal.SIGTERM),
    )
    process = Process(pid, _started(pid) or 0, _boot(), stamp, tuple(argv))
    files.write_private(record, json.dumps(asdict(process)).encode())
    return process


def _inheritable() -> list[int]:
    """The file descriptors from this process's caller other than the standard ones. Python closes its own by itself."""
    found = []
    for fd in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError):  # listing the folder takes one, which is closed by now
            if fd > 2 and os.get_inheritable(fd):
                found.append(fd)
    return found


def recorded(record: Path) -> Process | None:
    """The process that `record` describes, if it is still running, even if another process started it."""
    process = read(record)
    return process if process and alive(process) else None


def read(record: Path) -> Process | None:
    """The process that `record` describes, running or not; None if there is no valid record."""
    try:
        stored = bounds.json_document(record.read_bytes(), bounds.DOCUMENT)
        boot, stamp, argv = str(stored["boot"]), str(stored["stamp"]), tuple(map(str, stored["argv"]))
        return Process(int(stored["pid"]), int(stored["started"]), boot, stamp, argv)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def alive(process: Process) -> bool:
    """Whether exactly this process is running; a zombie is not."""
    _reap(process.pid)
    return process.boot == _boot() and process.started == _started(process.pid)


def stop(process: Process, term: float = _TERM_SECONDS, kill: float = _KILL_SECONDS) -> bool:
    """Send SIGTERM, and SIGKILL after `term` seconds. False if it is still running `kill` seconds later.

    Its copies are stopped too: rootless Podman re-executes itself in a child, which does not always exit with its
    parent (seen on 4.3.1).
    """
    together = [process, *_copies(process)]
    ended = [_stop(each, term, kill) for each in together]
    return all(ended)


def _copies(process: Process) -> Iterator[Process]:
    """Other processes in its session with the same arguments; leading ones, such as a wrapper's, may be missing."""
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
    """PIDs of all processes on the machine with an argument that contains `text`."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return [pid for pid in pids if any(text in word for word in _argv(pid))]


def _signal(pidfd: int, number: signal.Signals, seconds: float) -> bool:
    """Send the signal and wait at most `seconds` for the process to exit; whether it has."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _started(pid: int) -> int | None:
    """Start time of a process; None if it does not exist or is a zombie."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat (proc(5)) from the state (field 3) on; empty for a zombie or no process."""
    try:
        # The name, in parentheses, may contain anything, parentheses and spaces too.
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
    """Reap the process if it is an exited child of ours; otherwise reaping is its parent's job."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
