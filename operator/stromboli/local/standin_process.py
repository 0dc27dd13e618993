"""The offline stand-in of the Messages API as a detached process, on a socket in the home.

It runs where the demo found no API key; once used, `stromboli up` starts it again until a demo with a key
takes it away. What it answers is in `standin`.
"""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass

from stromboli.local.detached import Detached
from stromboli.local.home import Home

_READY_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class StandinProcess:
    """Start, stop and look at the stand-in of `home`."""

    home: Home

    @property
    def process(self) -> Detached:
        return Detached("standin", self.home)

    @property
    def wanted(self) -> bool:
        """Whether this installation's policy sends agents to the stand-in."""
        return self.home.standin.is_dir()

    def pid(self) -> int | None:
        return self.process.pid()

    def up(self) -> bool:
        """Start it if it does not listen; True if it had to be started. Raises LocalFailure."""
        self.home.standin.mkdir(exist_ok=True)
        self.home.standin.chmod(0o755)  # agents of any uid reach the socket in it
        if self.pid() is not None and self._listens():
            return False
        self.process.stop()
        requests = self.home.logs / "standin-requests.jsonl"
        command = [
            "-P",
            "-m",
            "stromboli.standin",
            "--socket",
            str(self.home.standin_socket),
            "--log",
            str(requests),
        ]
        self.process.start([sys.executable, *command], os.environ)
        self.process.await_ready(self._listens, _READY_SECONDS)
        return True

    def stop(self) -> bool:
        """End it; False if it was not running."""
        stopped = self.process.stop()
        self.home.standin_socket.unlink(missing_ok=True)
        return stopped

    def retire(self) -> None:
        """End it for good: the real API answers from now on."""
        self.stop()
        if self.wanted:
            self.home.standin.rmdir()

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.home.standin_socket))
            except OSError:  # not there, or left behind by a process that is gone
                return False
        return True
