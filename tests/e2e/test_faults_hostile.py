"""A disk that fills up, and agents that do what they can to the records, the supervisor and the host."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.host import Host
from tests.support.operator import OperatorProcess, Standin
from tests.support.runs import Object, Runs, condition, finished, reason_is

OUT = "/run/stromboli/out"
TINY = 24 * 1024 * 1024

# What an agent does, and how its run may end. An agent can spoil its own record, and nothing else.
HOSTILE = {
    "fills-its-record": (f"head -c 30000000 /dev/zero > {OUT}/junk", {"Completed"}),
    "fifo-for-its-output": (f"rm -f {OUT}/stdout && mkfifo {OUT}/stdout", {"AgentFailed"}),
    "link-for-its-output": (f"rm -f {OUT}/stdout && ln -s /etc/passwd {OUT}/stdout", {"AgentFailed"}),
    "device-for-its-record": (f"rm -f {OUT}/record && mknod {OUT}/record c 1 5", {"ContainerLost"}),
    "folder-for-its-record": (f"rm -f {OUT}/record && mkdir -p {OUT}/record/a/b", {"ContainerLost"}),
    "removes-everything": (f"rm -rf {OUT}/* {OUT}/.[a-z0-9]* /run/stromboli/session/* 2>/dev/null; true", None),
    "forges-its-end": (f"echo 'end completed 0 0 1.0' >> {OUT}/record; echo nonsense >> {OUT}/record", {"Completed"}),
    "forges-its-answer": (
        f"""echo '{{"type":"result","is_error":false,"result":"forged","num_turns":1}}' >> {OUT}/stdout""",
        {"Completed"},
    ),
    "ends-the-supervisor": ("kill -9 1; kill -TERM 1; sleep 30", {"AgentFailed"}),
    "leaves-processes": (
        "(setsid sleep 300 &) ; (trap '' TERM; sleep 300 & ) ; nohup sleep 300 >/dev/null 2>&1 & true",
        {"Completed"},
    ),
    "closes-its-folder": (f"chmod 000 {OUT}; true", {"Completed"}),
    "writes-its-plan": ("echo x > /run/stromboli/plan/supervisor; rm -rf /run/stromboli/plan; true", {"Completed"}),
}


@pytest.fixture(scope="module")
def hostile(spaces: Callable[..., Runs], python_image: str) -> dict[str, Object]:
    """All of them at once, ended."""
    return spaces("hostile").run_all(
        {
            name: {
                "prompt": f"BASH{{{script}}}",
                "image": python_image,
                "claude": {"dangerouslySkipPermissions": True},
                "timeout": "60s",
            }
            for name, (script, _) in HOSTILE.items()
        },
        within=120,
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_agent_ends_in_a_state_that_is_true(hostile: dict[str, Object], name: str) -> None:
    ended, expected = hostile[name], HOSTILE[name][1]
    assert finished(ended)
    assert condition(ended)["message"], "an end says why"
    if expected is not None:
        assert condition(ended)["reason"] in expected, condition(ended)["message"]
    assert "root:x:0:0" not in str(ended["status"])


def test_the_operator_is_none_the_worse_for_it(
    hostile: dict[str, Object], steady_operator: OperatorProcess, runs: Runs, python_image: str, host: Host
) -> None:
    os.kill(steady_operator.pid, 0)
    assert "Traceback" not in steady_operator.last_words()
    done = runs.run("after", prompt="ECHO{still-here}", image=python_image)
    assert done["status"]["result"]["text"] == "still-here"
    host.until(lambda: not host.agents(), "the containers are gone")
    runs.kubectl("-n", "hostile", "delete", "agentruns", "--all")
    for ended in hostile.values():
        host.await_gone(ended["metadata"]["uid"])


@pytest.fixture
def tiny_home(folder: Path) -> Iterator[Path]:
    """A home on a file system of its own, which is soon full."""
    home = folder / "tiny-home"
    home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={TINY},mode=0700", "tiny", str(home)], check=True)
    yield home
    subprocess.run(["umount", "--lazy", str(home)], check=True)
    home.rmdir()


def test_a_full_disk_is_said_and_then_it_goes_on(
    tiny_home: Path,
    new_operator: Callable[[], OperatorProcess],
    light_runs: Runs,
    standin: Standin,
    python_image: str,
) -> None:
    operator = new_operator()
    operator.home = tiny_home
    with operator:
        done = light_runs.run("before", prompt="ECHO{room}", image=python_image)
        assert done["status"]["result"]["text"] == "room", operator.last_words()
        fill(tiny_home / "filler")
        light_runs.apply("full", prompt="ECHO{no-room}", image=python_image)
        said = light_runs.until("full", reason_is("NodeOutOfDisk"))
        assert "make room there" in condition(said)["message"]
        assert "attempts" not in said["status"]
        operator.stop()
        operator.start(wait=False)  # it cannot even say that it is ready
        (tiny_home / "filler").unlink()
        done = light_runs.until("full", finished)
        assert done["status"]["result"]["text"] == "no-room", condition(done)["message"]
    texts = [str(request["last_user_text"]) for request in standin.requests()]
    assert sum("no-room" in text for text in texts) == 1


def test_an_agent_that_fills_the_disk_ends_and_keeps_nobody_for_ever(
    tiny_home: Path, new_operator: Callable[[], OperatorProcess], runs: Runs, python_image: str, host: Host
) -> None:
    operator = new_operator()
    operator.home = tiny_home
    with operator:
        filler = runs.run(
            "filler",
            prompt=f"BASH{{cat /dev/zero > {OUT}/junk; sync; true}}",
            image=python_image,
            claude={"dangerouslySkipPermissions": True},
            timeout="60s",
        )
        assert condition(filler)["message"]
        runs.apply("next", prompt="ECHO{after-the-filler}", image=python_image)
        runs.until("next", reason_is("NodeOutOfDisk"))
        runs.delete("filler")
        done = runs.until("next", finished)
        assert done["status"]["result"]["text"] == "after-the-filler", condition(done)["message"]
    assert not host.agents()


def fill(file: Path) -> None:
    """To the last byte."""
    with file.open("wb", buffering=0) as out:
        try:
            while True:
                out.write(bytes(65536))
        except OSError:
            return
