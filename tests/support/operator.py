"""The operator as a process for tests, with the service account and roles of manifests/.

Also the stand-in for the Messages API that its agents talk to; the requests it received are read from its log.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.support.cluster import Kubectl
from tests.support.forked import Forked

UNTIL_READY = 30.0
UNTIL_ENDED = 20.0
UNTIL_ASKED = 20.0


@dataclass
class OperatorProcess:
    """One operator; `start` returns once it is ready. `environ` adds to its environment.

    `program` is its command line, `identity` are arguments of `subprocess` that run it as another user. Without a
    program it is forked from a process that has its modules loaded already.
    """

    home: Path
    runtime_dir: Path
    kubeconfig: Path
    podman_socket: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    program: tuple[str, ...] = ()
    identity: Mapping[str, Any] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | Forked | None = None
    _begin: int = 0  # where its part of the log begins: other operators of the home have written there before

    @property
    def log(self) -> Path:
        return self.home.parent / f"{self.home.name}.log"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the operator is not started"
        return self._process.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, *, wait: bool = True) -> float:
        """Start it and (with `wait`) wait until it is ready. Returns the seconds taken."""
        began = time.monotonic()
        self._begin = self.log.stat().st_size if self.log.exists() else 0
        self._process = self._begun() if self.program else Forked(self._environment(), self.log)
        if wait:
            self._await_ready(self._process)
        return time.monotonic() - began

    def _begun(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self.program,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self.identity,
            )

    def kill(self) -> None:
        """End it by SIGKILL, like a crash."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it by SIGTERM, like `kubectl delete pod`."""
        code = self._end(signal.SIGTERM)
        assert code == 0, f"exit code {code}: {self.last_words()}"

    def last_words(self) -> str:
        """The end of what this operator has logged since its start."""
        return self.log.read_bytes()[self._begin :].decode(errors="replace")[-4000:] if self.log.exists() else ""

    def _end(self, how: signal.Signals) -> int:
        """Its exit code; 0 if it had already exited."""
        code = 0
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            code = self._process.wait(UNTIL_ENDED)
        self._process = None
        return code

    def _environment(self) -> dict[str, str]:
        env = {k: v for k, v in os.environ.items() if not k.startswith("STROMBOLI_")}
        return {
            **env,
            "KUBECONFIG": str(self.kubeconfig),
            "CONTAINER_HOST": f"unix://{self.podman_socket}",
            "STROMBOLI_HOME": str(self.home),
            "STROMBOLI_RUNTIME_DIR": str(self.runtime_dir),
            "STROMBOLI_NODE": "test-node",
            **self.environ,
        }

    def _await_ready(self, process: subprocess.Popen[bytes] | Forked) -> None:
        ready = self.home / "operator.ready"
        limit = time.monotonic() + UNTIL_READY
        while time.monotonic() < limit:
            if (code := process.poll()) is not None:
                raise RuntimeError(f"the operator ended with {code}: {self.last_words()}")
            if _read(ready).strip() == str(process.pid):
                return
            time.sleep(0.02)
        raise TimeoutError(f"the operator was not ready in {UNTIL_READY:.0f} s: {self.last_words()}")


def _read(file: Path) -> str:
    """The contents of a file; empty if it does not exist."""
    try:
        return file.read_text()
    except FileNotFoundError:
        return ""


def service_account_kubeconfig(kubectl: Kubectl, admin: Path, folder: Path, who: str = "operator") -> Path:
    """A kubeconfig with a token of the operator's service account, or of the gateway's."""
    token = kubectl("-n", "stromboli-system", "create", "token", f"stromboli-{who}", "--duration=6h").strip()
    config = json.loads(kubectl("config", "view", "--raw", "-o", "json", "--kubeconfig", str(admin)))
    for user in config["users"]:
        user["user"] = {"token": token}
    path = folder / f"{who}.kubeconfig"
    path.write_text(json.dumps(config))
    path.chmod(0o600)
    return path


class Standin:
    """The stand-in for the Messages API as a process on a Unix socket; its log has the requests it received."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "api.sock"
        self._log = folder.parent / "standin.jsonl"
        self._read = 0  # bytes of the log that are in _requests
        self._requests: list[dict[str, Any]] = []
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "stromboli.standin", "--socket", str(self.socket), "--log", str(self._log)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), "the stand-in did not start"
        self.socket.chmod(0o666)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(UNTIL_ENDED)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def requests(self) -> list[dict[str, Any]]:
        """The requests to `/v1/messages`, oldest first. Only what is new in the log is read: tests ask for it often."""
        if self._log.exists():
            with self._log.open("rb") as log:
                log.seek(self._read)
                new, end, _ = log.read().rpartition(b"\n")
            self._read += len(new) + len(end)
            lines = map(json.loads, new.splitlines())
            self._requests += [line for line in lines if str(line["path"]).split("?")[0] == "/v1/messages"]
        return list(self._requests)

    def until_asked(self, words: str) -> None:
        """Wait until a prompt that contains `words` has been received."""
        limit = time.monotonic() + UNTIL_ASKED
        while not any(words in r["last_user_text"] for r in self.requests()):
            assert time.monotonic() < limit, f"waited {UNTIL_ASKED:.0f} s for a prompt with {words!r}"
            time.sleep(0.02)
