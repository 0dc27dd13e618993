"""A run's container: its environment, working directory, volumes and limits, seen from inside and outside."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.podman import IsolatedPodman
from tests.support.runs import Object, Runs, completed, condition, reason_is

SKIP = {"dangerouslySkipPermissions": True}
ODD = {
    "PLAIN": "value",
    "EMPTY": "",
    "LINES": "one\ntwo\n\nfour\n",
    "QUOTES": 'it\'s "quoted" `id` \\ \\n',
    "DOLLAR": "$HOME ${PATH} $(id) $$ !! %s",
    "UNICODE": "żółw 🐢 \u2028 é",
    "SPACES": "  two  spaces\tand a tab  ",
    "lower_case1": "=a=b=",
}
PRINT_ODD = 'python3 -c "import os, json; print(json.dumps([os.environ.get(n) for n in [' + (
    ", ".join(f"'{name}'" for name in ODD) + ']]))"'
)
EAT = "python3 -c \"len(b'x' * (1 << 30))\""


@pytest.fixture(scope="module")
def work(policy: dict[str, Any], folder: Path) -> Iterator[Path]:
    """The folder that the policy allows to mount; beside it is one that it does not."""
    path = folder / "work"
    path.mkdir(exist_ok=True)
    (path / "there").mkdir()
    (path / "there/file").write_text("from the node")
    (folder / "secret").mkdir()
    (folder / "secret/file").write_text("not for agents")
    (path / "way-out").symlink_to(folder / "secret")
    (path / "way-in").symlink_to(path / "there")
    yield path
    (path / "way-out").unlink()


@pytest.fixture(scope="module")
def space(spaces: Callable[..., Runs]) -> Runs:
    return spaces("container")


@pytest.fixture(scope="module")
def ended(spaces: Callable[..., Runs], space: Runs, work: Path, folder: Path, python_image: str) -> dict[str, Object]:
    """All cases that simply run or are refused, run concurrently; the real CLI runs where its own process counts."""
    bash = {"image": python_image, "claude": SKIP}
    light: dict[str, dict[str, Any]] = {
        "environment": {
            "prompt": f"BASH{{{PRINT_ODD}}}",
            "env": [{"name": n, "value": v} for n, v in ODD.items()],
        },
        "own-environment": {"prompt": "BASH{echo [$PATH] [$CLAUDE_CONFIG_DIR] [$HOME]; env | grep -c STROMBOLI_}"},
        "workdir": {"prompt": "BASH{pwd; touch made && echo writable}", "workdir": "/deep/in the/image"},
        "workdir-as-it-is": {"prompt": "BASH{pwd}"},
        "workdir-mounted": {
            "prompt": "BASH{pwd; cat file}",
            "workdir": "/workspace",
            "volumes": [f"{work}/there:/workspace"],
        },
        "volumes": {
            "prompt": "BASH{cat /ro/file; touch /ro/x || echo is read-only; echo from the agent > /rw/answer}",
            "volumes": [f"{work}/way-in:/ro:ro", f"{work}/there:/rw"],
        },
        "network": {"prompt": "BASH{tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '}"},
    }
    cases: dict[str, dict[str, Any]] = {
        "not-allowed": {"prompt": "hello", "volumes": [f"{folder}/secret:/work"]},
        "beside": {"prompt": "hello", "volumes": [f"{work}-other:/work"]},
        "way-out": {"prompt": "hello", "volumes": [f"{work}/way-out:/work"]},
        "through-way-out": {"prompt": "hello", "volumes": [f"{work}/way-out/file:/work:ro"]},
        "missing": {"prompt": "hello", "volumes": [f"{work}/nothing:/work"]},
        "twice": {"prompt": "hello", "volumes": [f"{work}/there:/work", f"{work}/there:/work/"]},
        "too-much": {"prompt": f"BASH{{{EAT}}}", "resources": {"memory": "256Mi"}},
        "agent-too-large": {"prompt": "hello", "resources": {"memory": "64Mi"}},
        "too-long": {"prompt": "SLEEP{60}", "timeout": "2s"},
        "tool-too-long": {"prompt": "BASH{trap '' TERM; sleep 60}", "timeout": "3s"},
    }
    beside = spaces("light-container", light=True)
    for runs, some in ((beside, light), (space, cases)):
        runs.apply_all({name: {**bash, **spec} for name, spec in some.items()})
    return beside.ends(light) | space.ends(cases, within=240)


def said(run: Object) -> str:
    """The output of the agent's tool."""
    assert condition(run)["reason"] == "Completed", condition(run)["message"]
    text = str(run["status"]["result"]["text"])
    return text.removeprefix("The offline stand-in passes on what the tool said: ")


def test_the_environment_arrives_as_it_was_written(ended: dict[str, Object]) -> None:
    assert json.loads(said(ended["environment"])) == list(ODD.values())


def test_the_operators_own_variables(ended: dict[str, Object]) -> None:
    path, config, home, count = said(ended["own-environment"]).replace("] [", "]\n[").splitlines()
    assert path.startswith("[/opt/claude/bin:")
    assert config == "[/run/stromboli/session/claude]"
    assert home == "[/root]"
    assert count == "0"


def test_the_working_directory_is_made(ended: dict[str, Object]) -> None:
    assert said(ended["workdir"]).splitlines() == ["/deep/in the/image", "writable"]
    assert said(ended["workdir-as-it-is"]) == "/"
    assert said(ended["workdir-mounted"]).splitlines() == ["/workspace", "from the node"]


def test_volumes_read_only_and_not(ended: dict[str, Object], work: Path) -> None:
    lines = said(ended["volumes"])
    assert lines.startswith("from the node")
    assert "is read-only" in lines
    assert (work / "there/answer").read_text() == "from the agent\n"
    assert not (work / "there/x").exists()


@pytest.mark.parametrize(
    ("case", "reason", "words"),
    [
        ("not-allowed", "PolicyViolation", "is not allowed by AgentPolicy tests, which allows"),
        ("beside", "PolicyViolation", "is not allowed by AgentPolicy tests, which allows"),
        ("way-out", "PolicyViolation", "is not allowed by AgentPolicy tests, which allows"),
        ("through-way-out", "PolicyViolation", "is not allowed by AgentPolicy tests, which allows"),
        ("missing", "InvalidSpec", "spec.volumes[0]"),
        ("twice", "InvalidSpec", "spec.volumes[1]: /work is mounted twice"),
    ],
)
def test_volumes_that_may_not_be_mounted(ended: dict[str, Object], case: str, reason: str, words: str) -> None:
    run = ended[case]
    assert condition(run)["reason"] == reason
    assert words in condition(run)["message"]
    assert "attempts" not in run["status"]
    if reason == "PolicyViolation":
        assert condition(run, "Allowed")["status"] == "False"


def test_no_network_where_the_policy_says_none(ended: dict[str, Object]) -> None:
    assert said(ended["network"]) == "lo"


def test_running_out_of_memory(ended: dict[str, Object]) -> None:
    for case in ("too-much", "agent-too-large"):
        assert condition(ended[case])["reason"] == "OutOfMemory", condition(ended[case])["message"]
        assert "raise spec.resources.memory" in condition(ended[case])["message"]
        assert ended[case]["status"]["attempts"][-1]["exitCode"] == 137


@pytest.mark.parametrize(("case", "timeout"), [("too-long", "2s"), ("tool-too-long", "3s")])
def test_a_run_that_takes_too_long(ended: dict[str, Object], case: str, timeout: str) -> None:
    assert condition(ended[case])["reason"] == "TimedOut"
    assert f"longer than its timeout of {timeout}" in condition(ended[case])["message"]


def test_the_containers_limits_and_rights(space: Runs, isolated_podman: IsolatedPodman, python_image: str) -> None:
    limits = {"memory": "512Mi", "cpus": "500m", "cpuShares": 512, "pids": 99}
    spec = {"prompt": "SLEEP{3}", "image": python_image}
    space.apply_all({"limited": {**spec, "resources": limits}, "unlimited": spec})
    running = space.all_until(("limited", "unlimited"), reason_is("Running"))
    limited, unlimited = (_inspect(isolated_podman, running[name]) for name in ("limited", "unlimited"))
    config = limited["HostConfig"]
    assert (config["Memory"], config["MemorySwap"]) == (512 << 20, 512 << 20)
    assert (config["CpuQuota"], config["CpuPeriod"], config["CpuShares"]) == (50_000, 100_000, 512)
    assert config["PidsLimit"] == 99
    assert unlimited["HostConfig"]["Memory"] == 0
    assert unlimited["HostConfig"]["PidsLimit"] == 2048
    for container in (limited, unlimited):
        _is_confined(container, isolated_podman)
    for run in space.ends(running).values():
        completed(run)


def _inspect(podman: IsolatedPodman, run: Object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(podman.run("inspect", run["status"]["attempts"][-1]["container"]))[0]
    return found


def _is_confined(container: dict[str, Any], podman: IsolatedPodman) -> None:
    config = container["HostConfig"]
    default = json.loads(podman.run("inspect", podman.run("create", container["Image"], "true")))[0]
    assert container["EffectiveCaps"] == default["EffectiveCaps"]
    assert container["BoundingCaps"] == default["BoundingCaps"]
    assert not config["Privileged"]
    assert "no-new-privileges" in config["SecurityOpt"]
    for namespace in ("pid", "ipc", "uts", "net", "mnt", "cgroup"):
        link = f"/proc/{container['State']['Pid']}/ns/{namespace}"
        if namespace != "cgroup" or config["CgroupMode"] == "private":
            assert os.readlink(link) != os.readlink(f"/proc/self/ns/{namespace}"), namespace
