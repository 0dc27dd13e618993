"""One local control plane: start it, stop it, report its state.

    STATE/pki/          certificates, keys, tokens        STATE/ports.json    the ports
    STATE/etcd/         etcd's data                       STATE/kubeconfig    for kubectl
    STATE/run/*.json    the processes (processes.py)      STATE/*.log         their output

All state is in that folder, so it survives restarts of the caller and of the machine: `up` compares the running
processes with the desired ones, and starts or restarts those that are down or differ. This module has the sequence of
steps; the steps themselves are in the other modules.
"""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from stromboli import files
from stromboli.controlplane import certificates as pki
from stromboli.controlplane import kubeconfig, lock, ports, processes
from stromboli.controlplane.binaries import Binaries
from stromboli.controlplane.parts import APISERVER, CONTROLLER_MANAGER, ETCD, ORDER, Part, Setting, all_parts
from stromboli.controlplane.probes import Prober
from stromboli.errors import LocalFailure
from stromboli.progress import Progress, duration, silent

_READY_SECONDS = 90.0  # normally 3; a slow disk or a busy machine may take much longer
_POLL_SECONDS = 0.05
_ATTEMPTS = 3  # to find ports that no other process takes at the same moment
_TAIL_LINES = 15
_TAIL_WIDTH = 300

_OWN_PORTS = {
    ETCD: (ports.ETCD, ports.ETCD_PEER),
    APISERVER: (ports.APISERVER,),
    CONTROLLER_MANAGER: (ports.CONTROLLER_MANAGER,),
}


@dataclass(frozen=True, slots=True)
class PartStatus:
    """The state of one part; `pid` is None if it is not running."""

    name: str
    pid: int | None
    ready: bool
    log: Path


class _PortTaken(LocalFailure):
    """Another process took a port between its choice and its use."""


class Cluster:
    """The control plane whose state is in the folder `state`. Only `up` needs the programs.

    Concurrent calls from several processes wait for each other. `fsync=False` is for tests only.
    """

    def __init__(self, state: Path, binaries: Binaries | None = None, *, fsync: bool = True) -> None:
        self._state = state.absolute()
        self._binaries = binaries
        self._fsync = fsync

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig (0600). It exists after the first `up`."""
        return self._state / "kubeconfig"

    def kubeconfig_for(self, token: str, path: Path, namespace: str = "default") -> Path:
        """Write a kubeconfig for this cluster with another `token`, such as a service account's, to `path`."""
        server = f"https://{ports.HOST}:{ports.read(self._ports)[ports.APISERVER]}"
        authority = self._certificates.certificate("ca").read_bytes()
        kubeconfig.write(path, server, authority, token, namespace)
        return path

    def up(self, progress: Progress | None = None) -> None:
        """Start what is down and wait until every part is ready (3 s if nothing was running).

        Raises LocalFailure with the end of the log of the part that does not become ready.
        """
        files.private_folder(self._state)
        progress = progress or silent()
        with self._exclusive(progress):
            pki.ensure(self._certificates.folder, datetime.now(UTC))
            attempt = 1
            while not self._came_up(progress, last=attempt == _ATTEMPTS):
                attempt += 1

    def down(self, progress: Progress | None = None) -> None:
        """Stop every running part, in reverse order of starting. Idempotent."""
        if not self._state.is_dir():
            return
        progress = progress or silent()
        with self._exclusive(progress):
            for name in reversed(ORDER):
                self._stop(name, progress)

    def parts(self) -> list[PartStatus]:
        """The current state of each part, in the order of starting."""
        running = {name: processes.recorded(self._record(name)) for name in ORDER}
        ready = self._ready([name for name, process in running.items() if process])
        return [
            PartStatus(name, process.pid if process else None, name in ready, self._log(name))
            for name, process in running.items()
        ]

    def get(self, path: str) -> tuple[int, str]:
        """The API server's answer to the administrator, status and body; 0 and the reason if there is none."""
        try:
            with Prober(self._certificates, ports.read(self._ports)) as prober:
                return prober.get(path)
        except (OSError, KeyError):
            return 0, "it was never started"

    def _ready(self, names: list[str]) -> list[str]:
        """Those of `names` that are ready; none of them if the cluster's files have been removed."""
        settled = ports.read(self._ports)
        if not names or not settled:
            return []
        try:
            with Prober(self._certificates, settled) as prober:
                return [name for name in names if prober.ready(name)]
        except OSError:
            return []

    def _came_up(self, progress: Progress, *, last: bool) -> bool:
        try:
            self._bring_up(progress)
        except _PortTaken as e:
            if last:
                raise
            progress.line(f"{e}; choosing others")
            return False
        return True

    def _bring_up(self, progress: Progress) -> None:
        settled = ports.settle(self._ports, self._ports_in_use())
        wanted = all_parts(self._setting(settled))
        for part in reversed(wanted):
            running = processes.recorded(self._record(part.name))
            if running and running.stamp != part.stamp:
                self._stop(part.name, progress)
        with Prober(self._certificates, settled) as prober:
            for part in wanted:
                self._ensure(part, prober, progress)

    def _ports_in_use(self) -> list[str]:
        running = [name for name in ORDER if processes.recorded(self._record(name))]
        return [port for name in running for port in _OWN_PORTS[name]]

    def _setting(self, settled: dict[str, int]) -> Setting:
        if self._binaries is None:
            raise LocalFailure("the control plane cannot be started without its programs")
        self.kubeconfig_for(self._certificates.token, self.kubeconfig)
        return Setting(self._binaries, self._certificates, settled, self._state / "etcd", self.kubeconfig, self._fsync)

    def _ensure(self, part: Part, prober: Prober, progress: Progress) -> None:
        """Start the part if it is not running, and wait until it is ready."""
        process = processes.recorded(self._record(part.name))
        if process and prober.ready(part.name):
            progress.line(f"{part.name}: running (pid {process.pid})")
            return
        process = process or self._spawn(part)
        with progress.step(part.name) as step:
            while not prober.ready(part.name):
                if not processes.alive(process):
                    raise self._ended(part.name)
                if step.seconds > _READY_SECONDS:
                    raise self._failure(part.name, f"is not ready after {duration(step.seconds)}")
                time.sleep(_POLL_SECONDS)
            step.note(f"ready (pid {process.pid})")

    def _spawn(self, part: Part) -> processes.Process:
        files.private_folder(self._record(part.name).parent)
        # The user's environment is not passed on: etcd treats every ETCD_… variable as a flag.
        env = {"PATH": os.defpath, "HOME": str(self._state)}
        try:
            return processes.spawn(part.argv, env, self._log(part.name), self._record(part.name), part.stamp)
        except OSError as e:
            raise LocalFailure(
                f"{part.argv[0]} cannot be executed: {e.strerror}",
                "is it built for this machine's architecture?",
            ) from e

    def _stop(self, name: str, progress: Progress) -> None:
        process = processes.recorded(self._record(name))
        if process:
            began = time.monotonic()
            if not processes.stop(process):
                raise self._failure(name, f"(pid {process.pid}) does not exit, not even after SIGKILL")
            progress.line(f"{name}: stopped, {duration(time.monotonic() - began)}")
        self._record(name).unlink(missing_ok=True)

    def _ended(self, name: str) -> LocalFailure:
        numbers = ports.read(self._ports)
        taken = [numbers[port] for port in _OWN_PORTS[name] if not ports.free(numbers[port])]
        if taken:
            return _PortTaken(f"{name}: another process has taken port {taken[0]}")
        return self._failure(name, "exited before it was ready")

    def _failure(self, name: str, what: str) -> LocalFailure:
        log = self._log(name)
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        tail = "".join(f"\n    {line[:_TAIL_WIDTH]}" for line in lines[-_TAIL_LINES:])
        return LocalFailure(f"{name} {what}; the end of its log:{tail}", f"the complete log is {log}")

    def _exclusive(self, progress: Progress) -> AbstractContextManager[None]:
        return lock.exclusive(self._state / "lock", "is starting or stopping the control plane", progress)

    @property
    def _certificates(self) -> pki.Certificates:
        return pki.Certificates(self._state / "pki")

    @property
    def _ports(self) -> Path:
        return self._state / "ports.json"

    def _record(self, name: str) -> Path:
        return self._state / "run" / f"{name}.json"

    def _log(self, name: str) -> Path:
        return self._state / f"{name}.log"
