"""The folder in which a local installation keeps everything: its paths, its creation and its removal.

The contents are up to the modules that use them. A folder is ours only if it contains our marker file, because
`down --purge` removes it entirely.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stromboli import environment
from stromboli.errors import LocalFailure

_MARK = "stromboli-home"
_MARK_TEXT = "A local Stromboli installation. `stromboli down --purge` removes this folder and all that is in it.\n"
_LONGEST_SOCKET = 107  # bytes in sockaddr_un.sun_path before its closing NUL
_LOOK_ELSEWHERE = "set STROMBOLI_HOME to a folder that does not exist yet"


@dataclass(frozen=True, slots=True)
class Home:
    """Paths in the folder `root`, which is absolute. It may not exist before `ensure`."""

    root: Path

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Home:
        """`STROMBOLI_HOME`, else the folder `stromboli` in the user's XDG data folder."""
        return cls(environment.home(environ))

    @property
    def lock(self) -> Path:
        """The lock file that is held while the installation is changed, so that `up` and `down` take turns."""
        return self.root / "lock"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def processes(self) -> Path:
        """Contains one record for each background process."""
        return self.root / "processes"

    @property
    def controlplane(self) -> Path:
        return self.root / "controlplane"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's, written by the control plane."""
        return self.controlplane / "kubeconfig"

    @property
    def programs(self) -> Path:
        """A symlink to the folder with kubectl and the control plane's programs, wherever they were found."""
        return self.root / "programs"

    @property
    def bin(self) -> Path:
        """What `stromboli env` puts on PATH: kubectl, stromboli and its kubectl plugin, and nothing else."""
        return self.root / "bin"

    @property
    def settings(self) -> Path:
        """The operator's settings file."""
        return self.root / "settings.yaml"

    @property
    def podman(self) -> Path:
        """Configuration, storage and socket of our own Podman service, if we run one."""
        return self.root / "podman"

    @property
    def podman_socket(self) -> Path:
        return self.podman / "podman.sock"

    @property
    def container_host(self) -> Path:
        """Records which Podman this installation uses."""
        return self.root / "container-host"

    @property
    def installation(self) -> Path:
        """The value of our installation label, written by the operator, so that a home serves one cluster only."""
        return self.root / "installation"

    @property
    def operator_port(self) -> Path:
        """The port at which the operator says how it is."""
        return self.root / "operator-port.json"

    @property
    def operator_ready(self) -> Path:
        """Written by the operator once it is ready; contains its PID."""
        return self.root / "operator.ready"

    @property
    def gateway_port(self) -> Path:
        """Records the port that the gateway listens on."""
        return self.root / "gateway-port.json"

    @property
    def gateway_settings(self) -> Path:
        """The gateway's settings file: what the user has set of the HTTP API."""
        return self.root / "gateway.yaml"

    @property
    def http_port(self) -> Path:
        """Records the port of the HTTP API for as long as it cannot have the usual one."""
        return self.root / "http-port.json"

    @property
    def http_address(self) -> Path:
        """Records where the gateway was last told to serve the HTTP API."""
        return self.root / "http-address"

    @property
    def runtime(self) -> Path:
        """On tmpfs, for secrets in use; named after the home, so that two installations stay apart."""
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()
        return Path("/dev/shm") / f"stromboli-{os.getuid()}-{digest[:8]}"

    @property
    def exists(self) -> bool:
        return (self.root / _MARK).is_file()

    def ensure(self) -> None:
        """Ensure the folder, accessible to its owner only. Raises LocalFailure if that fails, or if it is not ours."""
        # Podman's socket has the longest path.
        if (excess := len(os.fsencode(self.podman_socket)) - _LONGEST_SOCKET) > 0:
            raise LocalFailure(
                f"{self.root} is {excess} bytes too long for the sockets in it",
                "set STROMBOLI_HOME to a shorter path",
            )
        try:
            self._make()
        except OSError as e:
            raise LocalFailure(f"{self.root} cannot be created: {e.strerror}", _LOOK_ELSEWHERE) from e

    def _make(self) -> None:
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.exists:
            if any(self.root.iterdir()):
                raise LocalFailure(f"{self.root} exists, is not empty and is no Stromboli home", _LOOK_ELSEWHERE)
            (self.root / _MARK).write_text(_MARK_TEXT, encoding="utf-8")
        if self.root.stat().st_uid != os.getuid():
            raise LocalFailure(f"{self.root} belongs to another user", _LOOK_ELSEWHERE)
        self.root.chmod(0o700)
        for folder in (self.logs, self.processes, self.bin):
            folder.mkdir(mode=0o700, exist_ok=True)

    def remove(self) -> None:
        """Remove the folder and everything in it. Raises LocalFailure if it is not ours, or has mounts in it."""
        if not self.exists:
            raise LocalFailure(f"{self.root} is not a Stromboli home, so it is not removed", "check STROMBOLI_HOME")
        if mounted := mounts_below(self.root):
            raise LocalFailure(f"{mounted[0]} is still mounted", f"run umount {mounted[0]}; then run the command again")
        shutil.rmtree(self.runtime, ignore_errors=True)
        try:
            shutil.rmtree(self.root)
        except OSError as e:
            raise LocalFailure(f"{e.filename} cannot be removed: {e.strerror}", f"remove {self.root} by hand") from e


def mounts_below(folder: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> list[str]:
    """Mount points inside the folder, innermost first, from proc(5)'s mountinfo."""
    lines = mountinfo.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    points = [_unescaped(line.split(" ")[4]) for line in lines]
    return sorted((p for p in points if p.startswith(f"{folder}/")), key=len, reverse=True)


def _unescaped(field: str) -> str:
    for code, char in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        field = field.replace(code, char)
    return field
