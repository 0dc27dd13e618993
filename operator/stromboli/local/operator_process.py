"""The operator as a background process of the installation: `stromboli operator`, with the environment that it needs.

The operator itself is in `handlers`; a cluster's Deployment runs the same command in the foreground.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx

from stromboli import environment, visible
from stromboli.controlplane import ports
from stromboli.local import code
from stromboli.local.answers import NAMESPACE
from stromboli.local.detached import Detached
from stromboli.local.home import Home
from stromboli.naming import METRICS

_NAME = "operator"
_READY_SECONDS = 60.0
_ANSWER_SECONDS = 2.0
_WRONG = "[-]"  # at the beginning of a failed check's line
_GRACE = 15.0


@dataclass(frozen=True, slots=True)
class Operator:
    """Starts, stops and checks the operator of `home`."""

    home: Home

    @property
    def process(self) -> Detached:
        return Detached(_NAME, self.home)

    def pid(self) -> int | None:
        return self.process.pid()

    def ready(self) -> bool:
        """Whether the running process has reported that it is ready; one of an earlier process does not count."""
        pid = self.pid()
        try:
            return pid is not None and int(self.home.operator_ready.read_text(encoding="ascii")) == pid
        except (FileNotFoundError, ValueError):  # not written yet, or just being written
            return False

    def metrics(self) -> str | None:
        """The URL of its metrics; None if it is not running."""
        port = self._used()
        return None if port is None else f"http://{ports.HOST}:{port}{METRICS}"

    def problem(self) -> str | None:
        """What it says is wrong, check by check; None if nothing is, or if it says nothing."""
        port = self._used()
        if port is None:
            return None
        try:
            with httpx.Client(trust_env=False, timeout=_ANSWER_SECONDS) as client:
                answer = client.get(f"http://{ports.HOST}:{port}/readyz")
        except httpx.TransportError as e:
            return f"it does not answer at {ports.HOST}:{port}: {e or type(e).__name__}"
        wrong = [line for line in answer.text.splitlines() if line.startswith(_WRONG)]
        return "; ".join(visible.text(line.removeprefix(_WRONG)) for line in wrong) or None

    def current(self) -> bool:
        """Whether it was started from the current code and settings; if not, it is restarted."""
        return self.process.stamp == self._stamp()

    def start(self, kubeconfig: Path, podman_socket: Path, environ: Mapping[str, str]) -> None:
        """Start it and return once it is ready. Raises LocalFailure with the end of its log."""
        self.home.operator_ready.unlink(missing_ok=True)
        command = [sys.executable, "-P", "-m", "stromboli", "operator", "--config", str(self.home.settings)]
        self.process.start(command, self.env(kubeconfig, podman_socket, environ), self._stamp())
        self.process.await_ready(self.ready, _READY_SECONDS)

    def stop(self) -> bool:
        """Stop it; its runs continue. False if it was not running."""
        stopped = self.process.stop(_GRACE)
        self.home.operator_ready.unlink(missing_ok=True)
        return stopped

    def env(self, kubeconfig: Path, podman_socket: Path, environ: Mapping[str, str]) -> dict[str, str]:
        """The caller's environment (for proxies), without credentials and without settings, which are in the file."""
        kept = {k: v for k, v in environ.items() if not k.startswith(("ANTHROPIC_", "CLAUDE_", environment.PREFIX))}
        return kept | {
            "KUBECONFIG": str(kubeconfig),
            "STROMBOLI_HOME": str(self.home.root),
            "STROMBOLI_NAMESPACE": NAMESPACE,
            "STROMBOLI_RUNTIME_DIR": str(self.home.runtime),
            "CONTAINER_HOST": f"unix://{podman_socket}",
            "STROMBOLI_HEALTH_ADDRESS": f"{ports.HOST}:{self._port()}",
            "PYTHONUNBUFFERED": "1",
            "PATH": environ.get("PATH", os.defpath),
        }

    def _used(self) -> int | None:
        """The port at which the running process says how it is."""
        return None if self.pid() is None else ports.read(self.home.operator_port, [_NAME]).get(_NAME)

    def _port(self) -> int:
        """Where it is to say how it is."""
        in_use = [_NAME] if self.pid() else []
        return ports.settle(self.home.operator_port, in_use, [_NAME])[_NAME]

    def _stamp(self) -> str:
        return code.stamp(self.home.settings.read_bytes())
