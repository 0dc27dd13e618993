"""The processes of commands in containers and of builds, as this process sees them on the host: to end them.

Podman's API cannot (4.3.1, and 5 as well). It needs Podman's processes to be in our own PID namespace and to
belong to our user, or us to be root. Where that is not so, nothing is signalled and the answer is False: a PID that
Podman reports is used only if /proc says that it is this session's, and a build's are those that have its mark.

Each session of a command has a monitor (conmon), which when the command has ended forks a process that sleeps for five
minutes and then lets Podman forget the session. At a check a second those would be 600 processes a container. SIGTERM,
for which conmon has a handler, interrupts that sleep, and Podman forgets the session at once. The handler passes the
signal on to the PID that the command had, so it is sent only just after the command's end, when no other process can
have that PID.
"""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from stromboli.apart import apart

_PROC = Path("/proc")
_MONITOR = "conmon"
_ROUNDS = 5  # looks for processes that were forked while others were being killed
_AGAIN = (0.0, 0.02, 0.1)  # seconds before each look for the process that sleeps: it is forked as the command ends


class Processes:
    """What is visible in /proc. Where there are thousands of processes, reading it takes long: threads do it."""

    def __init__(self) -> None:
        # The session of each monitor, and "" for all other processes: after each command one looks for a monitor, and
        # to list the PIDs alone takes a hundredth of the time.
        self._sessions: dict[int, str] = {}

    async def end(self, session: str, pid: int) -> bool:
        """Kill the command of an exec session and the processes that it has started; whether that was possible.

        `pid` is the one that Podman reports for the session. What left the command's Unix session is not found.
        """
        return await apart(_end, session, pid)

    async def end_build(self, mark: BuildMark) -> None:
        """Kill all processes that have one of the marks of a build."""
        await apart(_end_build, mark)

    async def tidy(self, session: str) -> bool:
        """Let Podman forget an exec session whose command has just ended; whether that was possible."""
        for pause in _AGAIN:
            await asyncio.sleep(pause)
            monitors = {process.pid: process for process in await apart(self._monitors, session)}
            # The monitor itself must not get the signal: it would end without waiting for the one that sleeps.
            if sleeping := [process for process in monitors.values() if process.parent in monitors]:
                return _send(sleeping[0], signal.SIGTERM)
        return False

    def _monitors(self, session: str) -> list[_Process]:
        """The monitor of a session, and the process that it has forked."""
        before = self._sessions
        self._sessions = {pid: before[pid] if pid in before else _session(pid) for pid in _pids()}
        found = [pid for pid, its in self._sessions.items() if its == session]
        return [process for process in map(_process, found) if process is not None and _session(process.pid) == session]


@dataclass(frozen=True, slots=True)
class BuildMark:
    """What tells the processes of one build from all others: the path of their cgroup has this part, and their limit
    of file locks, which Linux no longer heeds, is this number. A rootless Podman cannot choose the cgroup.
    """

    cgroup: str
    locks: int


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    state: str
    parent: int
    session: int

    @property
    def alive(self) -> bool:
        return self.state not in "ZX"


def _end(session: str, pid: int) -> bool:
    command = _process(pid)
    if command is None or _session(command.parent) != session:
        return False
    for _ in range(_ROUNDS):
        members = [process for process in _processes() if process.session == pid and process.alive]
        if not members:
            return True
        for process in members:
            if not _send(process, signal.SIGKILL):
                return False
    return False


def _end_build(mark: BuildMark) -> None:
    for _ in range(_ROUNDS):
        members = [process for process in _processes() if process.alive and _has(process.pid, mark)]
        if not members:
            return
        for process in members:
            _send(process, signal.SIGKILL)


def _has(pid: int, mark: BuildMark) -> bool:
    folder, locks = _PROC / str(pid), str(mark.locks)
    try:
        cgroups = (folder / "cgroup").read_text().splitlines()
        limits = (folder / "limits").read_text().splitlines()
    except OSError:
        return False
    if any(mark.cgroup in line.split("/")[1:] for line in cgroups):
        return True
    return any(line.startswith("Max file locks") and locks in line.split() for line in limits)


def _send(process: _Process, what: signal.Signals) -> bool:
    """Send a signal; False only if we may not. The PID may have become another process's meanwhile."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        now = _process(process.pid)
        if now is not None and (now.parent, now.session) == (process.parent, process.session):
            signal.pidfd_send_signal(descriptor, what)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    finally:
        os.close(descriptor)
    return True


def _session(pid: int) -> str:
    """The session or container of which this process is a monitor, or forked from it; "" for any other process."""
    try:
        arguments = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    if Path(os.fsdecode(arguments[0])).name != _MONITOR or b"-u" not in arguments:
        return ""
    return os.fsdecode(arguments[arguments.index(b"-u") + 1])


def _pids() -> list[int]:
    return [int(name) for name in os.listdir(_PROC) if name.isdigit()]


def _processes() -> list[_Process]:
    return [process for process in map(_process, _pids()) if process is not None]


def _process(pid: int) -> _Process | None:
    try:
        said = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The program's name, in parentheses, may have blanks and parentheses too.
    state, parent, _, session = said.rpartition(")")[2].split()[:4]
    return _Process(pid, state, int(parent), int(session))
