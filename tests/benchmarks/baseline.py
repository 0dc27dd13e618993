"""The baseline for a run: `podman run --rm` of the same image, CLI and prompt, as a user would type it.

It has the same argv, environment, isolation and limits as a run of the operator; the CLI comes from an image mount, the
prompt from stdin. It leaves out what the operator adds (labels, records, a volume for the conversation).
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
    """One such command. `environ` is podman's environment, which selects its storage; `env` is the agent's."""

    environ: Mapping[str, str]
    image: str
    cli_image: str
    env: Mapping[str, str]
    gateway: Path
    # The interpreter of the instant CLI, which in a run comes with the supervisor; here it is bind-mounted.
    busybox: Path | None = field(default=None)

    def once(self, prompt: str) -> float:
        """Run it to completion. Returns the seconds taken. Raises RuntimeError if the CLI did not answer."""
        command = self._command()
        began = time.monotonic()
        done = subprocess.run(
            command,
            env=self.environ,
            cwd=self.gateway,  # conmon creates an empty file `oom` in the working directory
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
        conversation = ["--session-id", str(uuid.uuid4())]  # as added by the supervisor
        return ["podman", "run", *options, self.image, program, *conversation, *words]
