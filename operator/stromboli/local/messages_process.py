"""The background process that agents without a network use in place of the Messages API, on a socket in the home:

    standin     answers offline (package `standin`)
    relay       forwards requests to the real API (package `relay`)

The existence of the socket's folder records which of them an installation uses, so that `up` starts it again.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stromboli.local.detached import Detached
from stromboli.local.home import Home

_READY_SECONDS = 20.0
_SECRETS = ("ANTHROPIC_", "CLAUDE_")
Name = Literal["standin", "relay"]


@dataclass(frozen=True, slots=True)
class MessagesProcess:
    """Starts, stops and checks one of the two; a relay takes the machine's proxy from `environ`."""

    home: Home
    name: Name
    environ: Mapping[str, str]

    @property
    def process(self) -> Detached:
        return Detached(self.name, self.home)

    @property
    def folder(self) -> Path:
        """It contains only the socket."""
        return self.home.root / self.name

    @property
    def socket(self) -> Path:
        return self.folder / "api.sock"

    @property
    def wanted(self) -> bool:
        """Whether this installation's policy points agents at it."""
        return self.folder.is_dir()

    def pid(self) -> int | None:
        return self.process.pid()

    def ready(self) -> bool:
        return self.pid() is not None and self._listens()

    def up(self, *options: str) -> bool:
        """Ensure that it listens; True if it had to be started. Raises LocalFailure."""
        self.folder.mkdir(exist_ok=True)
        self.folder.chmod(0o755)  # agents of any uid reach the socket in it
        if self.ready():
            return False
        self.process.stop()
        command = [sys.executable, "-P", "-m", f"stromboli.{self.name}", "--socket", str(self.socket), *options]
        environ = {k: v for k, v in self.environ.items() if not k.startswith(_SECRETS)}
        self.process.start(command, {"PATH": os.defpath, **environ})
        self.process.await_ready(self._listens, _READY_SECONDS)
        return True

    def stop(self) -> bool:
        """Stop it; False if it was not running."""
        stopped = self.process.stop()
        self.socket.unlink(missing_ok=True)
        return stopped

    def retire(self) -> None:
        """Stop it and remove its folder: agents use something else from now on."""
        self.stop()
        if self.wanted:
            self.folder.rmdir()

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.socket))
            except OSError:  # missing, or left behind by a process that has ended
                return False
        return True
