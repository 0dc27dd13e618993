"""What a run is measured against: `podman run --rm` of the same image, CLI and prompt, as a person would type it.

The same argv, environment, isolation and limits as the operator gives; the CLI comes by an image mount, and the
prompt on stdin. What the operator does besides (marks, records, a volume for the conversation) it does not.
"""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stromboli import naming
from stromboli.models.claude import ClaudeOptions
from stromboli.plan import argv
from stromboli.plan.request import DEFAULT_PIDS

SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Baseline:
    """One such command; `environ` is where podman finds its storage, `env` is the agent's."""

    environ: Mapping[str, str]
    image: str
    cli_image: str
    env: Mapping[str, str]
    gateway: Path
    # The instant CLI is a script of the busybox that the operator's supervisor brings; here it is bound.
    busybox: Path | None = field(default=None)

    def once(self, prompt: str) -> float:
        """Run it to its end; seconds. Raises RuntimeError where the CLI did not answer."""
        command = self._command()
        began = time.monotonic()
        done = subprocess.run(
            command,
            env=self.environ,
            cwd=self.gateway,  # conmon drops an empty file `oom` into the working directory
            input=prompt.encode(),
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
        took = time.monotonic() - began
        if done.returncode or b'"subtype":"success"' not in done.stdout:
            raise RuntimeError(f"podman run → {done.returncode}: {done.stderr.decode()[-1000:]}")
        return took

    def _command(self) -> list[str]:
        options = ["--rm", "--interactive", "--pull=never", "--network=none", "--log-driver=none", "--no-healthcheck"]
        options += [f"--pids-limit={DEFAULT_PIDS}", "--security-opt=no-new-privileges", "--http-proxy=false"]
        options += [f"--mount=type=image,source={self.cli_image},destination={naming.CLI_MOUNT}"]
        options += [f"--volume={self.gateway}:{self.gateway}:ro"]
        if self.busybox is not None:
            options += [f"--volume={self.busybox}:{naming.PLAN}/busybox:ro"]
        options += [f"--env={name}={value}" for name, value in self.env.items()]
        (program, *words), _ = argv.build(f"{naming.CLI_MOUNT}/bin/claude", ClaudeOptions())
        conversation = ["--session-id", str(uuid.uuid4())]  # as the supervisor puts it
        return ["podman", "run", *options, self.image, program, *conversation, *words]
