"""The local installation as a whole: what it consists of, and the order in which it comes up and goes down.

    Podman → control plane → CRDs → stand-in, if the demo's policy wants it → operator

Each part is started only if it is down, so `up` mends whatever is missing. Each part itself is in the module
named after it; the demo's images and policy are `demo`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stromboli.controlplane import lock
from stromboli.controlplane.binaries import Binaries, cache_folder, find
from stromboli.controlplane.cluster import Cluster
from stromboli.controlplane.progress import Report, silent
from stromboli.errors import LocalFailure
from stromboli.local import checkout, leftovers
from stromboli.local.home import Home
from stromboli.local.kubectl import Kubectl
from stromboli.local.operator_process import Operator
from stromboli.local.podman_service import PodmanService
from stromboli.local.standin_process import StandinProcess


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One part: `pid` is None where none of ours runs; `where` is its socket or log."""

    name: str
    pid: int | None
    ready: bool
    where: str

    def as_dict(self) -> dict[str, Any]:
        return {"pid": self.pid, "ready": self.ready, "where": self.where}


@dataclass(frozen=True, slots=True)
class Stack:
    """The installation in `home`, seen from a shell with the environment `environ`; `report` takes lines."""

    home: Home
    environ: Mapping[str, str]
    report: Report = silent

    @property
    def podman(self) -> PodmanService:
        return PodmanService(self.home, self.environ)

    @property
    def operator(self) -> Operator:
        return Operator(self.home)

    @property
    def standin(self) -> StandinProcess:
        return StandinProcess(self.home)

    @property
    def kubeconfig(self) -> Path:
        return Cluster(self.home.controlplane).kubeconfig

    @property
    def exists(self) -> bool:
        """Whether `up` was ever here."""
        return self.home.exists

    def fetch(self) -> Binaries:
        """The control plane's programs, fetched or built if need be (minutes)."""
        return find(cache_folder(self.environ), self.report, self.environ)

    def kubectl(self) -> Kubectl:
        """kubectl on this installation's control plane. Raises LocalFailure where that was never up."""
        program = self.home.programs / "kubectl"
        if not program.exists():
            raise LocalFailure(f"{program} is not there (any more)", "`stromboli up` brings it")
        return Kubectl(program, self.kubeconfig, self.home.root / "kube-cache")

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Make the home and hold its lock: who changes the installation takes turns."""
        self.home.ensure()
        with lock.exclusive(self.home.lock, "is changing this installation", self.report):
            yield

    def up(self) -> None:
        """Start what is down. Raises LocalFailure with what to do."""
        with self.changing():
            self.podman_up()
            self.control_plane_up()
            if self.standin.wanted:
                self.standin_up()
            self.operator_up()

    def podman_up(self) -> None:
        service = self.podman
        service.up()
        self._running("podman", service.pid(), str(service.socket))

    def control_plane_up(self) -> None:
        """The control plane, with the CRDs in it."""
        binaries = self.fetch()
        self._link(binaries.folder)
        Cluster(self.home.controlplane, binaries).up(self.report)
        kubectl = self.kubectl()
        # Both appear a moment after the API server is ready.
        kubectl("wait", "--for=create", "namespace/kube-system", "namespace/default", "--timeout=30s")
        kubectl.apply_folder(checkout.folder("crds"))
        kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(checkout.folder("crds")))

    def standin_up(self) -> None:
        self.standin.up()
        self._running("standin", self.standin.pid(), str(self.home.standin_socket))

    def operator_up(self) -> None:
        if not self.operator.ready() or not self.operator.current():
            self.operator.stop()
            self.operator.start(self.kubeconfig, self.podman.socket, self.environ)
        self._running("operator", self.operator.pid(), str(self.operator.process.log))

    def down(self) -> int:
        """Stop every process of the installation; the number of runs that go on by themselves.

        What they come to is found when `up` starts the operator again.
        """
        with self.changing():
            going = self._runs_going()
            self._stop_processes()
        return going

    def purge(self) -> None:
        """Stop and remove everything: first what Podman has of this installation, then the home.

        Raises LocalFailure if something stays, saying what; running it again goes on from there.
        """
        with self.changing():
            self._stopped("operator", self.operator.stop())
            self._remove_from_podman()
            self._stop_processes()
            if self.podman.own:
                self.podman.remove_storage()
            self.home.remove()

    def status(self) -> list[PartStatus]:
        """How each part is, in the order of starting."""
        service, operator = self.podman, self.operator
        parts = [PartStatus("podman", service.pid(), service.answers(), str(service.socket))]
        for part in Cluster(self.home.controlplane).parts():
            parts.append(PartStatus(part.name, part.pid, part.ready, str(part.log)))
        if self.standin.wanted:
            pid = self.standin.pid()
            parts.append(PartStatus("standin", pid, pid is not None, str(self.home.standin_socket)))
        return [*parts, PartStatus("operator", operator.pid(), operator.ready(), str(operator.process.log))]

    def _link(self, programs: Path) -> None:
        draft = self.home.programs.with_suffix(".new")
        draft.unlink(missing_ok=True)
        draft.symlink_to(programs)
        draft.replace(self.home.programs)

    def _stop_processes(self) -> None:
        self._stopped("operator", self.operator.stop())
        self._stopped("standin", self.standin.stop())
        self._stopped("podman", self.podman.down())
        Cluster(self.home.controlplane).down(self.report)

    def _runs_going(self) -> int:
        uid = self._installation()
        return leftovers.running(self.podman.command, uid) if uid and self.podman.answers() else 0

    def _remove_from_podman(self) -> None:
        """In a Podman of our own everything goes, in another one what bears our label."""
        uid = self._installation()
        if self.podman.own and not self.home.podman.is_dir():
            return
        if uid or self.podman.own:
            self.podman.up()
            everything = self.podman.own and self.podman.stores_in_home()
            if everything or uid:
                removed = leftovers.remove(self.podman.command, None if everything else uid)
                self.report(f"podman: removed {removed}")

    def _installation(self) -> str | None:
        try:
            return self.home.installation.read_text(encoding="ascii").strip() or None
        except FileNotFoundError:  # the operator was never up, so Podman has nothing of it
            return None

    def _running(self, name: str, pid: int | None, where: str) -> None:
        self.report(f"{name}: runs{f' (pid {pid})' if pid else ''}, {where}")

    def _stopped(self, name: str, stopped: bool) -> None:
        if stopped:
            self.report(f"{name}: stopped")
