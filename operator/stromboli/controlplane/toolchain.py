"""Runs `go` and streams its output by line; it is killed if the caller stops early."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from stromboli.errors import LocalFailure

_TAIL = 15  # lines of output shown on failure


def output(command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> str:
    """The standard output of a short command. Raises LocalFailure with its standard error if it fails."""
    done = subprocess.run(
        command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
    )
    if done.returncode:
        raise LocalFailure(f"`{_shown(command)}` failed: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout.strip()


@contextmanager
def running(
    command: Sequence[str], cwd: Path, env: Mapping[str, str], stdout: Path | None = None
) -> Iterator[Iterator[str]]:
    """Run a long command and yield the lines of its stderr as they arrive.

    Its standard output goes to the file `stdout`. Raises LocalFailure with the last lines if it fails.
    If the block is left early (an interrupt), the command and its children are killed.
    """
    tail: deque[str] = deque(maxlen=_TAIL)
    with Path(stdout or os.devnull).open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.PIPE,
            process_group=0,
        )
    with process:
        assert process.stderr is not None
        try:
            yield _lines(process.stderr, tail)
            code = process.wait()
        finally:
            _end(process, process.stderr)
    if code:
        raise LocalFailure(f"`{_shown(command)}` failed with exit code {code}:\n" + "\n".join(tail))


def _lines(stream: IO[bytes], tail: deque[str]) -> Iterator[str]:
    for line in stream:
        tail.append(line.decode(errors="replace").removesuffix("\n"))
        yield tail[-1]


def _end(process: subprocess.Popen[bytes], stderr: IO[bytes]) -> None:
    """Kill the command if it is still running: `go` does not forward signals to its compilers, so the whole group is.

    All of them share stderr, so once it reaches EOF none of them can write to the scratch folder any more.
    """
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        stderr.read()


def _shown(command: Sequence[str]) -> str:
    return " ".join([Path(command[0]).name, *command[1:3]])
