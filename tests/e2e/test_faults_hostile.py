"""Agents that attack their records, the supervisor and the host."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.support.host import Host
from tests.support.operator import OperatorProcess, Standin
from tests.support.runs import Object, Runs, condition, finished
from tests.support.sessions import go

OUT = "/run/stromboli/out"

# What an agent does, and how its run may end. An agent can damage its own record, and nothing else.
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
    """All of them, run concurrently to their ends."""
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
    """Podman reads passwd and group before a start: a pipe there would block it for ever, and every other call too."""
    space = spaces("pipes")
    script = "touch /kept && rm /etc/passwd /etc/group && mkfifo /etc/passwd /etc/group"
    agent = {"image": python_image, "claude": {"dangerouslySkipPermissions": True}, "timeout": "60s"}
    assert go(space, "a", prompt=f"BASH{{{script}}}", session={"name": "pipes"}, **agent)
    fork = {"prompt": "BASH{ls /kept; head -n 1 /etc/passwd}", "session": {"name": "copy", "fork": "pipes"}}
    forked = go(space, "b", **fork, **agent)
    assert "root:x:0:0" in forked["status"]["result"]["text"], "the image's files"
    host.until(lambda: "FilesNotCopied" in [e["reason"] for e in space.events("b")], "an event is emitted")
    again = go(space, "c", prompt="BASH{head -n 1 /etc/passwd}", session={"name": "pipes"}, **agent)
    assert "root:x:0:0" in again["status"]["result"]["text"]
    host.until(lambda: "ContainerRebuilt" in [e["reason"] for e in space.events("c")], "an event is emitted")
    space.kubectl("-n", space.namespace, "delete", "agentsessions", "--all")  # they would keep their containers


# What a process in the container does to hide that the prompt was sent: in the agent, and in a hook.
REMOVES = "rm -rf /run/stromboli/* /run/stromboli/out/.[a-z0-9]*"
MOVES = "mv /run /moved; cp -a /moved /run; find /run/stromboli/out -mindepth 1 -delete"  # its folder: it is a mount
OTHERS = "for p in /proc/[0-9]*; do p=${p#/proc/}; [ $p = 1 ] || [ $p = $$ ] || kill -9 $p; done"
AGENTS: dict[str, dict[str, object]] = {
    "agent-removes-120": {"prompt": f"ECHO{{sh:{REMOVES}; exit 120}}"},
    "agent-moves-137": {"prompt": f"ECHO{{sh:{MOVES}; kill -9 $$}}"},
    "agent-forges-122": {"prompt": f"ECHO{{sh:echo end failed 122 0 1.0 >> {OUT}/record; exit 122}}"},
}
HOOKS: dict[str, dict[str, object]] = {
    "hook-removes-120": {"lifecycle": {"postStart": [f"{REMOVES}; exit 120"]}},
    # It is a mount, which cannot be moved: otherwise this hook would succeed.
    "hook-moves-137": {"lifecycle": {"postStart": ["mv /run/stromboli /run/x || kill -9 $$"]}},
}
# … and what it does to run longer than allowed. `OTHERS` must not contain braces, which would end a directive.
ENDLESS: dict[str, dict[str, object]] = {
    "hook-kills-the-timer": {"lifecycle": {"postStart": [f"{OTHERS}; sleep 600"]}, "timeout": "2s"},
    "agent-in-a-session": {"prompt": "ECHO{sh:pkill -9 -P 1 sh; sleep 600}", "timeout": "2s", "session": {"name": "s"}},
}


@pytest.fixture(scope="module")
def spoilt(spaces: Callable[..., Runs], python_image: str) -> dict[str, Object]:
    """All of those, run concurrently with the light CLI to their ends."""
    space = spaces("spoilt", light=True)
    cases = AGENTS | HOOKS | ENDLESS
    specs = {n: {"image": python_image, **case, "prompt": f"{n} {case.get('prompt', '')}"} for n, case in cases.items()}
    return space.run_all(specs)


def _sent(standin: Standin, name: str) -> int:
    return sum(name in str(request["last_user_text"]) for request in standin.requests())


@pytest.mark.parametrize("name", AGENTS)
def test_whatever_an_agent_does_to_its_records_its_prompt_is_sent_once(
    spoilt: dict[str, Object], standin: Standin, name: str
) -> None:
    assert _sent(standin, name) == 1
    [attempt] = spoilt[name]["status"]["attempts"]
    assert attempt["promptSent"] == "Unknown"
    assert "the prompt was not sent" not in condition(spoilt[name])["message"]


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_that_removes_its_records_is_neither_repeated_nor_blamed_on_somebody_else(
    spoilt: dict[str, Object], standin: Standin, name: str
) -> None:
    assert _sent(standin, name) == 0
    [attempt] = spoilt[name]["status"]["attempts"]
    assert attempt["promptSent"] == ("Unknown" if "removes" in name else "No"), "what it removed is no proof any more"
    assert condition(spoilt[name])["reason"] in ("HookFailed", "ContainerLost")
    assert "administrator" not in condition(spoilt[name])["message"]


@pytest.mark.parametrize("name", ENDLESS)
def test_the_operator_ends_what_its_timeout_should_have_ended(spoilt: dict[str, Object], name: str) -> None:
    assert condition(spoilt[name])["reason"] == "TimedOut", condition(spoilt[name])["message"]
    assert len(spoilt[name]["status"]["attempts"]) == 1


def test_the_operator_is_none_the_worse_for_it(
    hostile: dict[str, Object],
    spoilt: dict[str, Object],
    steady_operator: OperatorProcess,
    runs: Runs,
    python_image: str,
    host: Host,
) -> None:
    os.kill(steady_operator.pid, 0)
    assert "Traceback" not in steady_operator.last_words()
    done = runs.run("after", prompt="ECHO{still-here}", image=python_image)
    assert done["status"]["result"]["text"] == "still-here"
    runs.kubectl("-n", "spoilt", "delete", "agentruns,agentsessions", "--all")
    host.until(lambda: not host.agents(), "the containers are gone")
    runs.kubectl("-n", "hostile", "delete", "agentruns", "--all")
    for ended in (*hostile.values(), *spoilt.values()):
        host.await_gone(ended["metadata"]["uid"])
