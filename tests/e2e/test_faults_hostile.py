"""Agents that do what they can to their records, to the supervisor and to the host."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.support.host import Host
from tests.support.operator import OperatorProcess
from tests.support.runs import Object, Runs, condition, finished
from tests.support.sessions import go

OUT = "/run/stromboli/out"

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


def test_a_session_whose_root_would_keep_podman_waiting_goes_on(
    spaces: Callable[..., Runs], python_image: str, host: Host
) -> None:
    """Podman reads passwd and group before a start: of a pipe there it would wait for ever, and all else with it."""
    space = spaces("pipes")
    script = "touch /kept && rm /etc/passwd /etc/group && mkfifo /etc/passwd /etc/group"
    agent = {"image": python_image, "claude": {"dangerouslySkipPermissions": True}, "timeout": "60s"}
    assert go(space, "a", prompt=f"BASH{{{script}}}", session={"name": "pipes"}, **agent)
    fork = {"prompt": "BASH{ls /kept; head -n 1 /etc/passwd}", "session": {"name": "copy", "fork": "pipes"}}
    forked = go(space, "b", **fork, **agent)
    assert "root:x:0:0" in forked["status"]["result"]["text"], "the image's files"
    host.until(lambda: "FilesNotCopied" in [e["reason"] for e in space.events("b")], "an event tells of it")
    again = go(space, "c", prompt="BASH{head -n 1 /etc/passwd}", session={"name": "pipes"}, **agent)
    assert "root:x:0:0" in again["status"]["result"]["text"]
    host.until(lambda: "ContainerRebuilt" in [e["reason"] for e in space.events("c")], "an event tells of it")
    space.kubectl("-n", space.namespace, "delete", "agentsessions", "--all")  # they would keep their containers


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
