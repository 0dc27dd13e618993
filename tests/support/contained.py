"""The supervisor as PID 1 of a real container: one session with its folder, its CLI and its container."""

from __future__ import annotations

import json
import subprocess
import uuid
from pathlib import Path

from stromboli import naming
from stromboli.attempt import busybox
from stromboli.attempt.folder import SessionFolder
from stromboli.plan import attempt, container
from stromboli.plan.attempt import AttemptPlan
from tests.support.supervised import Recorded, plan

CLI = f"{naming.CLI_MOUNT}/bin/claude"
BUSYBOX = f"{naming.PLAN}/busybox"
UNTIL = 30.0
AWKWARD = "a b\n'c' \"d\" $HOME `id` \\ ; & | * ~ # \t é 🦊 \x81\x7f\r end\n\n"

# The CLI's behaviour in a test, as a script for our busybox: the image may have no shell.
Script = str


class Bed(Recorded):
    """One session: its folder, its CLI, its one container."""

    PATIENCE = UNTIL

    def __init__(self, env: dict[str, str], root: Path) -> None:
        self._env = env
        self.uid = str(uuid.uuid4())
        self.name = naming.agent(self.uid).name
        self.cli = root / "cli"
        self.home = root / "home"
        (self.cli / "bin").mkdir(parents=True)
        busybox.install(self.home)
        self.folder = SessionFolder(self.home, root / "run", self.uid)
        self.number = 0

    @property
    def out(self) -> Path:
        return self.folder.attempt(self.uid, self.number) / "out"

    def podman(self, *args: str, check: bool = True) -> str:
        # Not in the checkout: conmon creates an empty file `oom` in the working directory that it inherits.
        done = subprocess.run(
            ["podman", *args], env=self._env, cwd=self.home, capture_output=True, timeout=UNTIL, check=False
        )
        assert done.returncode == 0 or not check, done.stderr.decode()
        return done.stdout.decode().strip()

    def install_cli(self, script: Script) -> None:
        """Install a CLI that needs nothing from the image either."""
        file = self.cli / "bin/claude"
        file.write_text(f"#!{BUSYBOX} sh\n{script}\n", encoding="utf-8")
        file.chmod(0o755)

    def hand_over(
        self,
        what: AttemptPlan,
        *,
        secrets: dict[str, bytes] | None = None,
        credentials: bytes | None = None,
        owner: tuple[int, int] | None = None,
    ) -> None:
        """Prepare the next attempt like the operator."""
        self.number += 1
        made = self.folder.prepare_attempt(self.uid, self.number, attempt.render(what), owner)
        self.folder.write_secrets((secrets or {}).values(), credentials, owner)
        self.folder.point("cli", self.cli)
        self.folder.point("attempt", made)

    def create(self, image: str, *options: str) -> None:
        binds = {
            f"{self.folder.link('attempt')}/plan": f"{naming.PLAN}:ro",
            f"{self.folder.link('attempt')}/out": naming.OUT,
            str(self.folder.link("secret")): f"{naming.HANDED}:ro",
            str(self.folder.link("cli")): f"{naming.CLI_MOUNT}:ro",
            self.name: naming.SESSION,
        }
        volumes = [part for source, target in binds.items() for part in ("--volume", f"{source}:{target}")]
        isolation = (
            "--network=none",
            "--security-opt=no-new-privileges",
            "--log-driver=none",
            "--pids-limit=200",
        )
        entrypoint = f"--entrypoint={json.dumps(container.ENTRYPOINT)}"
        self.podman("create", "--name", self.name, *volumes, *isolation, entrypoint, *options, image)

    def start(self) -> None:
        self.podman("start", self.name)

    def wait(self) -> int:
        return int(self.podman("wait", "--interval=50ms", self.name))

    def run(self, image: str, script: Script, what: AttemptPlan | None = None, *options: str) -> int:
        """Run one attempt to completion. Returns its exit code."""
        self.install_cli(script)
        self.hand_over(what or claude())
        self.create(image, *options)
        self.start()
        return self.wait()

    def remove(self) -> None:
        self.podman("rm", "--force", "--time=0", "--volumes", self.name, check=False)
        self.podman("volume", "rm", "--force", self.name, check=False)
        self.folder.remove()


def claude(*argv: str, **changes: object) -> AttemptPlan:
    return plan(CLI, *argv, **{"cli": CLI, **changes})
