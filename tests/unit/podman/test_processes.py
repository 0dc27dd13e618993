"""Which processes are signalled: those of a command's monitor, of a command and of a build, and no others."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from stromboli.podman import processes
from stromboli.podman.processes import BuildMark, Processes

SESSION, OTHER = "5e55", "07e4"
Lay = Callable[..., None]
Sent = list[tuple[int, signal.Signals]]


@pytest.fixture
def lay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lay:
    """Lays a process into a /proc of the test's own."""
    monkeypatch.setattr(processes, "_PROC", tmp_path)
    (tmp_path / "self").mkdir()

    def one(
        pid: int, *words: str, parent: int = 1, session: int = 0, state: str = "S", cgroup: str = "", locks: str = ""
    ) -> None:
        folder = tmp_path / str(pid)
        folder.mkdir(exist_ok=True)
        (folder / "cmdline").write_text("".join(f"{word}\0" for word in words))
        (folder / "stat").write_text(f"{pid} (a) b (c)) {state} {parent} {pid} {session} 0 -1")
        (folder / "cgroup").write_text(f"4:memory:/{cgroup}\n")
        (folder / "limits").write_text(f"Limit  Soft  Hard\nMax file locks            {locks or 'unlimited'}  locks\n")

    return one


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """The signals, in place of being sent. A process that gets KILL ends."""
    found: Sent = []

    def send(process: processes._Process, what: signal.Signals) -> bool:
        found.append((process.pid, what))
        if what is signal.SIGKILL:
            (processes._PROC / str(process.pid) / "stat").unlink()
        return True

    monkeypatch.setattr(processes, "_send", send)
    return found


def monitor(session: str) -> tuple[str, ...]:
    return ("/usr/bin/conmon", "--api-version", "1", "-c", "container", "-u", session, "-r", "/usr/bin/runc")


async def test_the_one_that_sleeps_is_woken_and_not_the_monitor(lay: Lay, sent: Sent) -> None:
    lay(10, *monitor(OTHER))
    lay(11, *monitor(OTHER), parent=10)
    lay(20, *monitor(SESSION))
    lay(21, *monitor(SESSION), parent=20)
    lay(30, "grep", "conmon", "-u", SESSION, parent=20)
    assert await Processes().tidy(SESSION)
    assert sent == [(21, signal.SIGTERM)]


@pytest.mark.parametrize("forked", [True, False])
async def test_one_that_is_forked_late_is_waited_for(lay: Lay, sent: Sent, forked: bool) -> None:
    lay(20, *monitor(SESSION))
    tidying = asyncio.create_task(Processes().tidy(SESSION))
    await asyncio.sleep(0)
    if forked:
        lay(21, *monitor(SESSION), parent=20)
    assert await tidying is forked
    assert sent == ([(21, signal.SIGTERM)] if forked else [])


async def test_what_is_known_not_to_be_a_monitor_is_not_read_again(
    lay: Lay, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    session = processes._session

    def counted(pid: int) -> str:
        read.append(pid)
        return session(pid)

    monkeypatch.setattr(processes, "_session", counted)
    for pid in range(100, 200):
        lay(pid, "sleep", "1")
    seen = Processes()
    for n in (1, 2, 3):
        read.clear()
        lay(1000 * n, *monitor(f"{SESSION}{n}"))
        lay(1000 * n + 1, *monitor(f"{SESSION}{n}"), parent=1000 * n)
        assert await seen.tidy(f"{SESSION}{n}")
        assert len(read) == (104 if n == 1 else 4)
    assert len(sent) == 3


async def test_all_of_a_command_s_unix_session_are_killed(lay: Lay, sent: Sent) -> None:
    lay(20, *monitor(SESSION))
    lay(40, "sh", parent=20, session=40)
    lay(41, "sleep", parent=1, session=40)
    lay(42, "sleep", parent=40, session=40, state="Z")
    lay(43, "other", parent=1, session=43)
    assert await Processes().end(SESSION, 40)
    assert sorted(pid for pid, _ in sent) == [40, 41]


@pytest.mark.parametrize("parent", [1, 20, 99])
async def test_a_pid_that_the_session_s_monitor_has_not_started_is_left_alone(
    lay: Lay, sent: Sent, parent: int
) -> None:
    """Podman's PIDs are another namespace's where the operator has one of its own."""
    lay(1, "init")
    lay(20, *monitor(OTHER))
    lay(40, "sh", parent=parent, session=40)
    assert not await Processes().end(SESSION, 40)
    assert not await Processes().end(SESSION, 4000)
    assert sent == []


async def test_a_build_s_processes_have_its_cgroup_or_its_number(lay: Lay, sent: Sent) -> None:
    lay(50, "sh", cgroup="stromboli-build-a")
    lay(51, "sh", cgroup="below/stromboli-build-a/more")
    lay(52, "sh", cgroup="stromboli-build-ab")
    lay(53, "sh", locks="77  77")
    lay(54, "sh", locks="777  777")
    lay(55, "sh", cgroup="stromboli-build-a", state="Z")
    await Processes().end_build(BuildMark("stromboli-build-a", 77))
    assert sorted(pid for pid, _ in sent) == [50, 51, 53]


async def test_a_signal_is_for_the_process_that_was_seen() -> None:
    child = await asyncio.create_subprocess_exec("sleep", "60")
    seen = processes._process(child.pid)
    assert seen is not None
    other = processes._Process(seen.pid, seen.state, seen.parent + 1, seen.session)
    assert processes._send(other, signal.SIGKILL)
    os.kill(child.pid, 0)
    assert processes._send(seen, signal.SIGKILL)
    assert await child.wait() == -signal.SIGKILL
    assert processes._send(seen, signal.SIGKILL), "it is gone"
