"""Detached processes: found again, ended in bounded time, and never mistaken for someone else's."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stromboli.controlplane import processes
from stromboli.controlplane.processes import Process

_SLEEPER = ("/bin/sh", "-c", "echo hello; echo $HOME; exec sleep 600")
_STUBBORN = ("/bin/sh", "-c", "trap '' TERM; echo deaf; exec sleep 600")


class Nursery:
    """Starts processes, and ends those that a test left."""

    def __init__(self, folder: Path) -> None:
        self.record = folder / "part.json"
        self.log = folder / "part.log"
        self._started: list[Process] = []

    def spawn(self, argv: tuple[str, ...], stamp: str = "1") -> Process:
        env = {"HOME": "/nowhere", "PATH": os.defpath}
        self._started.append(processes.spawn(argv, env, self.log, self.record, stamp))
        return self._started[-1]

    def spawn_and_read(self, argv: tuple[str, ...], first: str) -> Process:
        """Spawn, and return once the log shows that it has come as far as to print `first`."""
        fifo = self.log.with_suffix(".fifo")
        os.mkfifo(fifo)
        process = self.spawn(("/bin/sh", "-c", f'exec >"{fifo}"; {argv[2]}'))
        with fifo.open() as file:
            assert file.readline().strip() == first
        return process

    def end(self) -> None:
        for process in self._started:
            assert processes.stop(process, term=0)


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    nursery = Nursery(tmp_path)
    yield nursery
    nursery.end()


def test_found_by_its_record(nursery: Nursery) -> None:
    process = nursery.spawn(_SLEEPER, stamp="abc")
    assert processes.recorded(nursery.record) == process
    assert process.stamp == "abc"
    assert os.getsid(process.pid) == process.pid
    assert nursery.record.stat().st_mode & 0o777 == 0o600


def test_stop_ends_it(nursery: Nursery) -> None:
    process = nursery.spawn(_SLEEPER)
    assert processes.stop(process)
    assert not processes.alive(process)
    assert processes.recorded(nursery.record) is None
    assert processes.stop(process), "stopping what has ended is no failure"


def test_output_goes_to_the_log_and_the_log_before_is_kept(nursery: Nursery) -> None:
    first = nursery.spawn(("/bin/sh", "-c", "echo one; echo two >&2"))
    os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
    second = nursery.spawn(("/bin/sh", "-c", "echo three; echo $HOME"))
    os.waitid(os.P_PID, second.pid, os.WEXITED | os.WNOWAIT)
    assert nursery.log.with_name("part.log.1").read_text() == "one\ntwo\n"
    assert nursery.log.read_text() == "three\n/nowhere\n"


def test_one_that_has_ended_is_not_alive_even_unreaped(nursery: Nursery) -> None:
    process = nursery.spawn(("/bin/true",))
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not processes.alive(process)


def test_kill_follows_where_term_is_ignored(nursery: Nursery) -> None:
    process = nursery.spawn_and_read(_STUBBORN, "deaf")
    assert processes.stop(process, term=0.2, kill=10)
    assert not processes.alive(process)


def test_a_process_that_outlived_its_starter(nursery: Nursery) -> None:
    """Another interpreter starts it and exits; it is found and ended all the same."""
    program = (
        "import sys; from pathlib import Path; from stromboli.controlplane import processes;"
        "r = Path(sys.argv[1]); processes.spawn(sys.argv[2:], {}, r.with_suffix('.log'), r, 's')"
    )
    subprocess.run(
        [sys.executable, "-W", "error", "-c", program, nursery.record, "/bin/sleep", "600"],
        check=True,
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    process = processes.recorded(nursery.record)
    assert process
    assert processes.stop(process)
    assert processes.recorded(nursery.record) is None


@pytest.mark.parametrize("other", [{"started": 1}, {"boot": "another"}])
def test_a_pid_given_to_another_is_left_alone(nursery: Nursery, other: dict[str, object]) -> None:
    process = nursery.spawn(_SLEEPER)
    stranger = dataclasses.replace(process, **other)  # type: ignore[arg-type]
    nursery.record.write_text(json.dumps(dataclasses.asdict(stranger)))
    assert processes.recorded(nursery.record) is None
    assert processes.stop(stranger)
    assert processes.alive(process)


def test_a_name_with_parentheses_and_spaces(nursery: Nursery, tmp_path: Path) -> None:
    program = tmp_path / "a) R 1 (b"
    program.symlink_to("/bin/sleep")
    process = nursery.spawn((str(program), "600"))
    assert processes.recorded(nursery.record) == process


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"pid": "x", "started": 1, "boot": "", "stamp": "", "argv": []}']
)
def test_a_spoilt_record_is_no_process(tmp_path: Path, content: str) -> None:
    (tmp_path / "record").write_text(content)
    assert processes.recorded(tmp_path / "record") is None


def test_it_has_no_file_of_its_starters_caller(nursery: Nursery) -> None:
    """A shell's lock or pipe, inherited by the starter, would stay open for as long as the process lives."""
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    nursery.spawn(_SLEEPER)
    os.close(writing)
    os.set_blocking(reading, False)
    assert os.read(reading, 1) == b"", "nobody has the other end open"
    os.close(reading)


def test_signals_ignored_here_are_not_ignored_there(nursery: Nursery) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        process = nursery.spawn(_SLEEPER)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert processes.stop(process, term=10, kill=0), "TERM did not reach it"


@pytest.mark.parametrize("killed_before", [False, True])
def test_one_that_goes_on_in_a_child_ends_with_it(nursery: Nursery, tmp_path: Path, killed_before: bool) -> None:
    """As rootless Podman does: a child with its command line, which does not hear of its parent's end."""
    os.mkfifo(tmp_path / "never")
    script = f'(read -r _ <"{tmp_path}/never") & echo forked; wait'
    process = nursery.spawn_and_read(("/bin/sh", "-c", script), "forked")
    assert len(_session(process.pid) - {process.pid}) == 1
    if killed_before:
        os.kill(process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert processes.stop(process)
    assert not _session(process.pid)


def _session(leader: int) -> set[int]:
    """Who runs in a session; what has ended and is not reaped does not count."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = stat.read_text().rpartition(")")[2].split()
            if fields[3] == str(leader) and fields[0] != "Z":
                found.add(int(stat.parent.name))
    return found


def test_what_cannot_be_executed(nursery: Nursery) -> None:
    with pytest.raises(OSError, match="No such file"):
        nursery.spawn(("/no/such/program",))
    assert processes.recorded(nursery.record) is None
