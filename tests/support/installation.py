"""A local installation as a user has it: the command line on a home of the tests' own."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from stromboli.controlplane.binaries import ASSETS, Binaries
from stromboli.local import podman_config
from stromboli.local.home import Home, mounts_below
from tests.support import images, stores
from tests.support.cluster import Kubectl
from tests.support.ordinary_user import OrdinaryUser
from tests.support.runs import Runs, connected

SECONDS = 120.0
_PODMAN_UP = """
import os
from stromboli.local.home import Home
from stromboli.local.podman_service import PodmanService

home = Home.of(os.environ)
home.ensure()
PodmanService(home, os.environ).up()
"""


@dataclass(frozen=True)
class Installation:
    """The command line on one home. `command` is how it is called, `user` the user that calls it (None: the tests')."""

    home: Home
    environ: Mapping[str, str]
    programs: Binaries
    command: tuple[str, ...] = (sys.executable, "-m", "stromboli")
    user: OrdinaryUser | None = None

    def attempt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run([*self.command, *arguments], self.environ)

    def __call__(self, *arguments: str) -> str:
        """Run a command and return its standard output. A failure is an AssertionError with its output."""
        done = self.attempt(*arguments)
        assert done.returncode == 0, f"stromboli {' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    def shell(self, script: str, stdin: IO[bytes] | None = None) -> str:
        """The output of a script in a POSIX shell with the installation's environment (`stromboli env`)."""
        ask = f'eval "$({shlex.join(self.command)} env)"'
        done = self._run(["sh", "-ec", f"{ask}\n{script}"], self.environ, stdin)
        assert done.returncode == 0, f"{script}: {done.stderr}"
        return done.stdout

    def status(self) -> dict[str, dict[str, Any]]:
        """The status of each part, also if some are down."""
        found: dict[str, dict[str, Any]] = json.loads(self.attempt("status", "-o", "json").stdout)
        return found

    def pids(self) -> dict[str, int]:
        return {name: part["pid"] for name, part in self.status().items()}

    @contextmanager
    def runs(self) -> Iterator[Runs]:
        kubeconfig = Path(self("kubeconfig").strip())
        with connected(kubeconfig) as client:
            yield Runs(Kubectl(self.programs.kubectl, kubeconfig), client, "default")

    def podman(self, *arguments: str, stdin: IO[bytes] | None = None) -> str:
        """Run Podman on the home's storage, with or without its service."""
        environ = podman_config.env(self.home, self.environ, rootless=self.user is not None or os.geteuid() != 0)
        done = self._run(["podman", *arguments], environ, stdin)
        assert done.returncode == 0, f"podman {' '.join(arguments)}: {done.stderr}"
        return done.stdout.strip()

    def begin(self) -> bool:
        """Before `up`: begin with the large images, at no cost. False if that is not possible (`stores.begin`)."""
        self.home.ensure()
        return stores.begin(self.home.podman / "storage")

    def load(self, *archives: Path) -> None:
        """Load images before `up`, which would otherwise pull them. The user does not need read access to the archives.

        The installation is then the same as if the images had been pulled.
        """
        started = self._run([self.command[0], "-c", _PODMAN_UP], self.environ)
        assert started.returncode == 0, started.stderr
        for path in archives:
            with path.open("rb") as archive:
                self.podman("load", "--quiet", stdin=archive)

    def asked(self, text: str) -> int:
        """How often the stand-in received a prompt that contains `text`, not counting requests after a tool call."""
        lines = (self.home.logs / "standin-requests.jsonl").read_text().splitlines()
        asked = [json.loads(line) for line in lines]
        return sum(1 for a in asked if text in str(a.get("user_texts")) and a.get("tool_result") is None)

    def traces(self) -> dict[str, list[str]]:
        """Everything of the installation that is on the machine, by kind; empty kinds are omitted."""
        root = self.home.root
        secrets = Path("/dev/shm").glob(f"stromboli-*-{self.home.runtime.name.rpartition('-')[2]}")
        found = {
            "files": [str(root)] if root.exists() else [],
            "secrets": [str(path) for path in secrets],
            "mounts": mounts_below(root),
            "processes": [line for line in map(_command, Path("/proc").glob("[0-9]*")) if str(root) in line],
        }
        return {kind: what for kind, what in found.items() if what}

    def _run(
        self, command: list[str], environ: Mapping[str, str], stdin: IO[bytes] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env=environ,
            stdin=stdin or subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            **(self.user.identity if self.user else {}),
        )


def installed_in(
    root: Path,
    programs: Binaries,
    user: OrdinaryUser | None = None,
    command: tuple[str, ...] = Installation.command,
    environ: Mapping[str, str] | None = None,
) -> Installation:
    """An installation in a folder that does not exist yet, set to use the tests' images; `environ` adds variables."""
    home = Home(root)
    ours = ("STROMBOLI_", "ANTHROPIC_", "CLAUDE_", "CONTAINER_")
    inherited = user.environ if user else {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    image, tag = images.RECIPES["cli"].reference.rsplit(":", 1)
    settings = {
        "STROMBOLI_HOME": str(root),
        # A service of its own, even if the machine's Podman has one.
        "CONTAINER_HOST": f"unix://{home.podman_socket}",
        ASSETS: str(programs.folder),
        # A port of its own, even if nothing else has the usual one: tests run side by side.
        "STROMBOLI_SERVER_ADDRESS": "127.0.0.1:0",
        "STROMBOLI_AGENT_CLI_IMAGE": image,
        "STROMBOLI_AGENT_CLI_IMAGE_TAG": tag,
        "STROMBOLI_AGENT_IMAGE": images.RECIPES["glibc"].reference,
    }
    return Installation(home, {**inherited, **settings, **(environ or {})}, programs, command, user)


def _command(process: Path) -> str:
    """Command line and environment of a process; empty if it has exited or belongs to another user."""
    try:
        texts = [(process / name).read_bytes() for name in ("cmdline", "environ")]
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""
    return " ".join(text.replace(b"\0", b" ").decode(errors="replace") for text in texts)
