"""Podman outages, and containers changed by hand: reported, and recovered from."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from stromboli import naming
from tests.support.host import Host
from tests.support.operator import OperatorProcess, Standin
from tests.support.podman import IsolatedPodman
from tests.support.runs import Object, Runs, condition, finished, reason_is

SAID_WITHIN = 15.0  # seconds on a busy machine; 2 on an idle one


@pytest.fixture
def service(isolated_podman: IsolatedPodman) -> Iterator[IsolatedPodman]:
    """The Podman service; it is restarted after the test if it is down."""
    yield isolated_podman
    isolated_podman.start_service()


def sent(standin: Standin, mark: str) -> int:
    return sum(mark in str(request["last_user_text"]) for request in standin.requests())


def at_work(runs: Runs, mark: str, image: str, seconds: float = 2) -> str:
    """Start a run and wait until its status and the stand-in show the agent at work. Returns its UID."""
    runs.apply("run", prompt=f"SLEEP{{{seconds}}} ECHO{{{mark}}}", image=image)
    uid: str = runs.until("run", reason_is("Running"))["metadata"]["uid"]
    return uid


def await_prompt(host: Host, standin: Standin, mark: str) -> None:
    host.until(lambda: sent(standin, mark) == 1, "the prompt is sent")


def completed(obj: Object, text: str) -> None:
    assert condition(obj)["reason"] == "Completed", condition(obj)["message"]
    assert obj["status"]["result"]["text"] == text


def test_the_service_is_killed_while_the_agent_works(
    steady_operator: OperatorProcess, light_runs: Runs, standin: Standin, python_image: str, service: IsolatedPodman
) -> None:
    at_work(light_runs, "podman-killed", python_image, seconds=4)
    service.kill_service()
    said = light_runs.until("run", reason_is("PodmanUnavailable"), SAID_WITHIN)
    assert "goes on when Podman answers again" in condition(said)["message"]
    service.start_service()
    completed(light_runs.until("run", finished), "podman-killed")
    assert sent(standin, "podman-killed") == 1


def test_the_run_ends_while_the_service_is_down(
    steady_operator: OperatorProcess,
    light_runs: Runs,
    standin: Standin,
    python_image: str,
    service: IsolatedPodman,
    host: Host,
) -> None:
    uid = at_work(light_runs, "podman-down-at-the-end", python_image, seconds=1)
    service.kill_service()
    record = host.home / "sessions" / uid / "attempts" / f"{uid}-1" / "out" / "record"
    host.until(lambda: record.exists() and "\nend " in record.read_text(), "the supervisor's last word")
    light_runs.until("run", reason_is("PodmanUnavailable"), SAID_WITHIN)
    service.start_service()
    completed(light_runs.until("run", finished), "podman-down-at-the-end")
    assert sent(standin, "podman-down-at-the-end") == 1


def test_the_service_is_down_before_the_start(
    steady_operator: OperatorProcess, light_runs: Runs, standin: Standin, python_image: str, service: IsolatedPodman
) -> None:
    service.kill_service()
    light_runs.apply("run", prompt="ECHO{podman-down-first}", image=python_image)
    said = light_runs.until("run", reason_is("PodmanUnavailable"), SAID_WITHIN)
    assert said["status"]["phase"] == "Pending"
    assert {"type": "Reconciling", "status": "True"}.items() <= condition(said, "Reconciling").items()
    service.start_service()
    completed(light_runs.until("run", finished), "podman-down-first")
    assert sent(standin, "podman-down-first") == 1


@pytest.mark.parametrize("command", [("rm", "--force", "--time", "0"), ("kill",)], ids=["removed", "killed"])
def test_a_container_is_taken_away_by_hand(
    steady_operator: OperatorProcess,
    light_runs: Runs,
    standin: Standin,
    python_image: str,
    isolated_podman: IsolatedPodman,
    host: Host,
    command: tuple[str, ...],
) -> None:
    mark = f"by-hand-{command[0]}"
    uid = at_work(light_runs, mark, python_image, seconds=30)
    await_prompt(host, standin, mark)
    isolated_podman.run(*command, naming.agent(uid).name)
    ended = light_runs.until("run", finished, SAID_WITHIN)
    assert condition(ended)["reason"] == "ContainerLost"
    assert "it was killed or removed, or the machine restarted" in condition(ended)["message"]
    assert "it is not sent again by itself" in condition(ended)["message"]
    assert condition(ended, "Stalled")["status"] == "True"
    assert sent(standin, mark) == 1
    host.until(lambda: not host.agents(), "the container is gone")


def test_the_mount_of_the_cli_is_taken_away_by_hand(
    steady_operator: OperatorProcess, runs: Runs, standin: Standin, python_image: str, host: Host
) -> None:
    """Once by unmounting it, and once by removing its container; in between it works again."""
    completed(runs.run("before", prompt="ECHO{mounted}", image=python_image), "mounted")
    host.until(lambda: not host.agents(), "no mount but the holder's is left")
    for mount in [m for m in host.mounts() if m.endswith("/merged")]:
        subprocess.run(["umount", mount], check=True)
    completed(runs.run("unmounted", prompt="ECHO{unmounted}", image=python_image), "unmounted")
    for holder in host.holders():
        host.podman.run("rm", "--force", holder)
    completed(runs.run("removed", prompt="ECHO{removed}", image=python_image), "removed")
    assert [sent(standin, mark) for mark in ("unmounted", "ECHO{removed}")] == [1, 1]


def test_a_container_that_has_our_name_and_is_not_ours_is_waited_for(
    steady_operator: OperatorProcess, light_runs: Runs, standin: Standin, python_image: str, host: Host
) -> None:
    steady_operator.stop()
    light_runs.apply("run", prompt="ECHO{not-ours}", image=python_image)
    uid = light_runs.get("run")["metadata"]["uid"]
    theirs = host.podman.run("create", "--name", naming.agent(uid).name, python_image, "true")
    steady_operator.start()
    said = light_runs.until("run", lambda o: "another container is named" in condition(o).get("message", ""))
    assert condition(said)["reason"] == "PodmanUnavailable"
    assert any(c["Id"] == theirs for c in host.containers())
    host.podman.run("rm", theirs)
    completed(light_runs.until("run", finished), "not-ours")
    assert sent(standin, "not-ours") == 1
