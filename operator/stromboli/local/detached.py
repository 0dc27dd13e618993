"""A background process of the installation that is not part of the control plane: start, log, readiness, stop.

How a process outlives its starter and is found again is in `controlplane.processes`; which processes there are is in
`stack`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stromboli.controlplane import processes
from stromboli.errors import LocalFailure
from stromboli.local.home import Home

_LAST_LINES = 8
_LAST_BYTES = 16384
_AGAIN = 0.02


@dataclass(frozen=True, slots=True)
class Detached:
    """One process of an installation; its record and its log are named after it."""

    name: str
    home: Home

    @property
    def log(self) -> Path:
        return self.home.logs / f"{self.name}.log"

    @property
    def _record(self) -> Path:
        return self.home.processes / f"{self.name}.json"

    def pid(self) -> int | None:
        """Its PID; None if it is not running."""
        process = processes.recorded(self._record)
        return process.pid if process else None

    @property
    def stamp(self) -> str | None:
        """What the running process was started with, in its starter's terms; None if it is not running."""
        process = processes.recorded(self._record)
        return process.stamp if process else None

    def start(self, argv: Sequence[str], env: Mapping[str, str], stamp: str = "") -> int:
        """Start it, detached; returns its PID. Raises LocalFailure if the program is missing or cannot be executed."""
        program = shutil.which(argv[0], path=env.get("PATH"))
        if program is None:
            raise LocalFailure(f"{argv[0]} is not installed", "`stromboli doctor` says how to get it")
        try:
            return processes.spawn([program, *argv[1:]], env, self.log, self._record, stamp).pid
        except OSError as e:
            raise LocalFailure(f"{program} cannot be started: {e.strerror}") from e

    def await_ready(self, ready: Callable[[], bool], seconds: float) -> None:
        """Return once `ready()` is true. Raises LocalFailure with the end of its log if it exits or takes too long."""
        limit = time.monotonic() + seconds
        while not ready():
            if self.pid() is None:
                raise self._failure("ended before it was ready")
            if time.monotonic() > limit:
                raise self._failure(f"is not ready after {seconds:.0f} s")
            time.sleep(_AGAIN)

    def stop(self, grace: float = 10.0) -> bool:
        """Stop it (SIGTERM, and SIGKILL after `grace` seconds) and wait for its exit; False if it was not running."""
        process, running = processes.read(self._record), self.pid() is not None
        if process and not processes.stop(process, grace):
            raise LocalFailure(
                f"{self.name} (pid {process.pid}) does not exit, not even after SIGKILL",
                f"see what it waits for: cat /proc/{process.pid}/stack (as root)",
            )
        self._record.unlink(missing_ok=True)
        return running

    def _failure(self, what: str) -> LocalFailure:
        return LocalFailure(
            f"{self.name} {what}; the end of its log:\n{self.last_lines()}", f"the complete log is {self.log}"
        )

    def last_lines(self) -> str:
        """The end of its log, indented."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as stream:
            stream.seek(max(0, self.log.stat().st_size - _LAST_BYTES))
            lines = stream.read().decode(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-_LAST_LINES:])
