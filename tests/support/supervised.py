"""Runs the real supervisor on the real busybox as an ordinary process, with the container's paths moved into a folder.

The script is unchanged except for those paths. It is not PID 1 here, so what only PID 1 does (reaping orphans, killing
every process when it exits) is tested in `tests/contract/test_supervisor.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from stromboli import naming
from stromboli.attempt import busybox, records, seals, supervisor
from stromboli.plan.attempt import AttemptPlan, EndRecord, Hook, Records, render
from tests.support.builders import NOTHING_SECRET

AWKWARD = "a b\n'c' \"d\" $HOME `id` \\ ; & | * ? ~ # \t é 🦊 \x81\x88\x7f\r end\n\n"
_DUMP = "import json, os, sys; json.dump([sys.argv[1:], dict(os.environ), os.getcwd()], open({!r}, 'w'))"
UNTIL = 20.0  # seconds; everything here takes a fraction of one


def plan(*argv: str, **changes: object) -> AttemptPlan:
    """A minimal plan that runs `argv`; `changes` override fields of AttemptPlan."""
    plain = AttemptPlan(
        env={},
        secret_env=(),
        credentials=False,
        workdir=None,
        hooks=(),
        conversation=None,
        argv=argv or ("/bin/true",),
        cli="",
        timeout=60.0,
        hooks_timeout=None,
        grace=5.0,
        files={"prompt": b""},
        run="7f1c2c2e-0000-4000-8000-000000000001",
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def sh(script: str, **changes: object) -> AttemptPlan:
    """A plan that runs a shell script as the CLI."""
    return plan("/bin/sh", "-c", script, **changes)


def hooks(*commands: str) -> tuple[Hook, ...]:
    return tuple(Hook("postStart", n, command) for n, command in enumerate(commands))


class Recorded:
    """An attempt's records, read from outside. `PATIENCE` is the longest wait, in seconds."""

    PATIENCE: ClassVar[float]

    @property
    def out(self) -> Path:
        """The folder of the records."""
        raise NotImplementedError

    def records(self) -> Records:
        return records.read(self.out, NOTHING_SECRET)

    def end(self) -> EndRecord:
        """The supervisor's end record, which has to exist."""
        end = self.records().end
        assert end is not None, "there is no end record"
        return end

    def until(self, what: str, seen: Callable[[], bool]) -> None:
        """Wait until `seen` is true; `what` describes it in a failure."""
        limit = time.monotonic() + self.PATIENCE
        while not seen():
            assert time.monotonic() < limit, f"waited {self.PATIENCE:.0f} s for {what}"
            time.sleep(0.005)


class Supervised(Recorded):
    """One attempt's folder, and the process that runs it."""

    PATIENCE = UNTIL

    def __init__(self, root: Path, busybox: Path) -> None:
        self.root = root
        self._processes: list[subprocess.Popen[bytes]] = []
        for folder in ("plan", "secret", "shm", "session", "home", "cgroup"):
            (root / folder).mkdir(parents=True)
        self.hand_over()
        self._seal()
        (root / "plan/busybox").symlink_to(busybox)
        script = supervisor.script()
        moved = script.replace(naming.SECRET, str(root / "shm"))
        moved = moved.replace(naming.RUNTIME, str(root)).replace("/sys/fs/cgroup", str(root / "cgroup"))
        self.script(moved)

    @property
    def out(self) -> Path:
        return self.root / "out"

    def _seal(self) -> None:
        seals.make(self.root, None)
        (self.root / "plan/seals").write_bytes(seals.for_supervisor(self.root))

    def hand_over_again(self) -> None:
        """Prepare the session's next attempt, in the same container and on the same volume."""
        (self.root / seals.NOTE).unlink()
        self._seal()

    def hand_over(self, *values: str, files: Sequence[bytes] = (), credentials: str = "") -> None:
        """Write the secrets that the supervisor is given."""
        given = b"".join(f"{value}\0".encode() for value in values)
        given += b"".join(b"%d\0%b" % (len(content), content) for content in files)
        (self.root / "handed").write_bytes(given + credentials.encode())

    def script(self, text: str | None = None, change: Callable[[str], str] | None = None) -> None:
        """Replace the supervisor, or change it."""
        file = self.root / "plan/supervisor"
        new = text if text is not None else file.read_text(encoding="utf-8")
        file.write_text(change(new) if change else new, encoding="utf-8")

    def start(self, what: AttemptPlan, environ: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Write the plan's files and start the supervisor."""
        for name, content in render(what).items():
            (self.root / "plan" / name).write_bytes(content)
        return self.start_again(environ)

    def start_again(self, environ: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start the supervisor on the files that are already there."""
        given = {"PATH": os.defpath, "HOME": str(self.root / "home")} if environ is None else environ
        process = subprocess.Popen(
            [self.root / "plan/busybox", "sh", self.root / "plan/supervisor"],
            env=dict(given),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._processes.append(process)
        return process

    def run(self, what: AttemptPlan, environ: Mapping[str, str] | None = None) -> int:
        """Start it and wait for its exit code."""
        return self.start(what, environ).wait(UNTIL)

    def signal(self, number: signal.Signals) -> None:
        self._processes[-1].send_signal(number)

    def wait(self) -> int:
        return self._processes[-1].wait(UNTIL)

    def until_stdout(self, text: bytes) -> None:
        """Wait until `text` is in the recorded standard output of the running attempt."""
        self.until(f"{text!r} on standard output", lambda: text in self.records().stdout)

    def close(self) -> None:
        """Kill what is left: timers and recorders are in the supervisor's process group."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(UNTIL)


def seen(box: Supervised, tmp_path: Path, *argv: str, environ: dict[str, str] | None = None, **changes: object) -> Any:
    """[argv, environment, working directory] of the CLI."""
    dump = _DUMP.format(str(tmp_path / "seen.json"))
    assert box.run(plan(sys.executable, "-c", dump, *argv, **changes), environ) == 0, box.records()
    return json.loads((tmp_path / "seen.json").read_text())


@pytest.fixture(scope="session")
def static_busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return busybox.install(tmp_path_factory.mktemp("home"))


@pytest.fixture
def box(tmp_path: Path, static_busybox: Path) -> Iterator[Supervised]:
    box = Supervised(tmp_path / "run", static_busybox)
    yield box
    box.close()
