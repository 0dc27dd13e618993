"""Starts the operator by forking a process that has its modules loaded, so that a start does not pay for imports.

The operator is still a separate process that can be killed at any moment. Starting it by its command line is covered by
other tests (`OperatorProcess`, `test_local`).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["stromboli.__main__", "stromboli.cli.app", "stromboli.handlers.run"])


class Forked:
    """`stromboli operator` with this environment, its output appended to `log`; a subset of Popen's interface."""

    def __init__(self, environ: Mapping[str, str], log: Path) -> None:
        self._process = _CONTEXT.Process(target=_operate, args=(dict(environ), str(log)))
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """Its exit code; None while it is running."""
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout: float) -> int:
        """Wait for its exit code; TimeoutError if it is still running after `timeout` seconds."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutError(f"the operator (pid {self.pid}) did not end in {timeout:.0f} s")
        return self._process.exitcode


def _operate(environ: Mapping[str, str], log: str) -> None:
    from stromboli.__main__ import run

    os.environ.clear()
    os.environ.update(environ)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)
    sys.exit(run(["operator"]))
