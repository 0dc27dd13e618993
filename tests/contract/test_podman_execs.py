"""Commands in running containers: what comes of them, their limits, and that nothing of them is left."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from stromboli.errors import NotFound, PodmanError
from stromboli.podman.execs import Executed
from stromboli.podman.failures import answer
from stromboli.podman.processes import Processes
from tests.contract.conftest import Bed
from tests.support.fake_podman import Command

LIMIT = 30.0


async def _left(bed: Bed, container: str) -> list[str]:
    """The sessions of a container that Podman has not forgotten."""
    response = await bed.podman._connection.request("GET", f"/containers/{container}/json")
    return list(answer(response.content).get("ExecIDs") or ())


async def _until(true: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for something that no event announces."""
    limit = time.monotonic() + LIMIT
    while not await true():
        assert time.monotonic() < limit, f"{what}: not after {LIMIT:.0f} s"
        await asyncio.sleep(0.02)


async def _forgotten(bed: Bed, container: str) -> None:
    """Wait until Podman has forgotten all sessions of a container."""

    async def is_empty() -> bool:
        return not await _left(bed, container)

    await _until(is_empty, "Podman has forgotten the command")


async def _begun(bed: Bed, container: str) -> None:
    """Wait until a command runs in a container."""
    await _until(lambda: _running(bed, container), "a command runs in the container")


@pytest.mark.parametrize(
    ("command", "exit_code", "output"),
    [
        (["true"], 0, ""),
        (["echo", "a", "b"], 0, "a b\n"),
        (["sh", "-c", "exit 3"], 3, ""),
        (["sh", "-c", "echo said; exit 1"], 1, "said\n"),
    ],
    ids=str,
)
async def test_a_command_ends_with_its_code_and_output(
    bed: Bed, command: list[str], exit_code: int, output: str
) -> None:
    container = await bed.run("sleep", "60")
    assert await bed.podman.execs.run(container, command, limit=LIMIT) == Executed(exit_code, output, ended=True)
    await _forgotten(bed, container)


async def test_a_program_that_is_not_there_is_127_with_its_reason(bed: Bed) -> None:
    container = await bed.run("sleep", "60")
    executed = await bed.podman.execs.run(container, ["/nowhere/at/all"], limit=LIMIT)
    assert executed.exit_code == 127
    assert "not found" in executed.output
    await _forgotten(bed, container)


async def test_a_command_that_does_not_end_is_killed(bed: Bed) -> None:
    container = await bed.run("sleep", "60")
    began = time.monotonic()
    assert await bed.podman.execs.run(container, ["sleep", "50"], limit=0.3) == Executed(None, "", ended=True)
    assert time.monotonic() - began < LIMIT
    await _forgotten(bed, container)
    state = await bed.podman.containers.inspect(container)
    assert state is not None
    assert state.running


async def test_a_command_that_is_cancelled_is_killed(bed: Bed) -> None:
    container = await bed.run("sleep", "60")
    running = asyncio.create_task(bed.podman.execs.run(container, ["sleep", "50"], limit=LIMIT))
    await _begun(bed, container)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not await _running(bed, container)


async def test_what_an_earlier_operator_began_is_killed(bed: Bed) -> None:
    container = await bed.run("sleep", "60")
    execs = bed.podman.execs
    session = await execs._create(container, ["sleep", "50"])
    async with bed.podman._connection.stream("POST", f"/exec/{session}/start", body={"Detach": False, "Tty": False}):
        pass
    assert await _running(bed, container)
    await execs.clear(container)
    assert not await _running(bed, container)
    await execs.clear("nobody")


async def test_a_container_that_ends_takes_its_commands_along(bed: Bed) -> None:
    container = await bed.run("sleep", "60")
    running = asyncio.create_task(bed.podman.execs.run(container, ["sleep", "50"], limit=LIMIT))
    await _begun(bed, container)
    await bed.podman.containers.kill(container)
    executed = await asyncio.wait_for(running, LIMIT)
    assert (executed.exit_code, executed.ended) == (137, True)


async def test_a_container_that_does_not_run(bed: Bed) -> None:
    with pytest.raises(NotFound):
        await bed.podman.execs.run("nobody", ["true"], limit=LIMIT)
    container = await bed.podman.containers.create(bed.body("true"))
    with pytest.raises(PodmanError, match="container state improper") as caught:
        await bed.podman.execs.run(container, ["true"], limit=LIMIT)
    assert not isinstance(caught.value, NotFound)


async def test_only_the_end_of_a_long_output_is_kept(bed: Bed) -> None:
    if bed.fake is not None:
        lines = "".join(f"line {n}\n" for n in range(2000)).encode()
        bed.fake.executed = lambda *_: Command(3, lines)
    script = "n=0; while [ $n -lt 2000 ]; do echo line $n; n=$((n+1)); done; exit 3"
    container = await bed.run("sleep", "60")
    executed = await bed.podman.execs.run(container, ["sh", "-c", script], limit=LIMIT, most=200)
    assert executed.exit_code == 3
    lines_kept = executed.output.splitlines()
    assert lines_kept[-1] == "line 1999"
    assert lines_kept[0].startswith("line 19")
    assert len(executed.output) <= 200


async def test_a_flood_is_not_read_and_still_ends_with_its_code(real: Bed) -> None:
    """100 MB; those 4 KiB that are kept are of the first MiB."""
    container = await real.run("sleep", "60")
    began = time.process_time()
    script = "dd if=/dev/zero bs=1048576 count=100 2>/dev/null; exit 7"
    executed = await real.podman.execs.run(container, ["sh", "-c", script], limit=LIMIT)
    assert (executed.exit_code, executed.ended, len(executed.output)) == (7, True, 4096)
    assert time.process_time() - began < 0.5
    await _forgotten(real, container)


async def test_a_flood_that_does_not_end_is_killed_with_all_that_it_started(real: Bed) -> None:
    container = await real.run("sleep", "60")
    state = await real.podman.containers.inspect(container)
    assert state is not None
    script = "sleep 55 & sleep 55 & while :; do echo flood; done"
    executed = await real.podman.execs.run(container, ["sh", "-c", script], limit=1.0)
    assert executed.exit_code is None
    namespace = os.readlink(f"/proc/{state.pid}/ns/pid")

    async def is_alone() -> bool:
        return _in_namespace(namespace) == [state.pid]

    await _until(is_alone, "only the container's own process is left")


async def test_it_runs_as_the_container_s_user_in_its_environment(real: Bed) -> None:
    container = await real.run("sleep", "60", user="1000:1000", env={"A": "b c"}, work_dir="/tmp")
    executed = await real.podman.execs.run(container, ["sh", "-c", "id; echo $A; pwd; exit 0"], limit=LIMIT)
    assert executed.output.splitlines() == ["uid=1000 gid=1000", "b c", "/tmp"]


async def test_a_child_left_behind_does_not_hold_it_up(real: Bed) -> None:
    container = await real.run("sleep", "60")
    began = time.monotonic()
    executed = await real.podman.execs.run(container, ["sh", "-c", "sleep 50 & echo said; exit 4"], limit=40)
    assert executed == Executed(4, "said\n", ended=True)
    assert time.monotonic() - began < 20


async def test_a_pid_that_is_not_the_session_s_is_not_killed(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a PID namespace of the operator's own, where Podman's PIDs are other processes'."""
    if bed.fake is not None:
        bed.fake.processes.visible = False
    other = await asyncio.create_subprocess_exec("sleep", "60", start_new_session=True)
    ends = Processes.end

    async def end(self: Processes, session: str, _: int) -> bool:
        return await ends(self, session, other.pid)

    monkeypatch.setattr(Processes, "end", end)
    container = await bed.run("sleep", "60")
    try:
        assert await bed.podman.execs.run(container, ["sleep", "50"], limit=0.3) == Executed(None, "", ended=False)
        (session,) = await _left(bed, container)
        assert other.returncode is None
        await bed.podman.containers.kill(container)
        assert await bed.podman.execs._processes.tidy(session) is (bed.fake is None)
    finally:
        other.kill()
        await other.wait()


async def _running(bed: Bed, container: str) -> bool:
    """Whether a command runs in a container."""
    return any([(await bed.podman.execs._inspect(session)).running for session in await _left(bed, container)])


def _in_namespace(namespace: str) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if not folder.name.isdigit() or os.readlink(folder / "ns/pid") != namespace:
                continue
            if "State:\tZ" not in (folder / "status").read_text():  # nobody in the container reaps those
                found.append(int(folder.name))
        except OSError:  # it has ended
            continue
    return found


async def test_commands_at_once_do_not_meet(bed: Bed) -> None:
    containers = [await bed.run("sleep", "60") for _ in range(2)]
    commands = [
        bed.podman.execs.run(containers[n % 2], ["sh", "-c", f"echo {n}; exit {n}"], limit=60) for n in range(6)
    ]
    assert await asyncio.gather(*commands) == [Executed(n, f"{n}\n", ended=True) for n in range(6)]
    for container in containers:
        await _forgotten(bed, container)
