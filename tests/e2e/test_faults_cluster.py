"""API server outages; attempts from before a reboot; two operators; finished runs never change."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stromboli import naming
from stromboli.controlplane.cluster import Cluster
from tests.support.cluster import Kubectl
from tests.support.host import Host
from tests.support.operator import OperatorProcess, Standin
from tests.support.runs import Object, Runs, condition, finished, reason_is

NewOperator = Callable[[], OperatorProcess]
APISERVER = "kube-apiserver"


def sent(standin: Standin, mark: str) -> int:
    return sum(mark in str(request["last_user_text"]) for request in standin.requests())


def completed(obj: Object, text: str) -> None:
    assert condition(obj)["reason"] == "Completed", condition(obj)["message"]
    assert obj["status"]["result"]["text"] == text


def kill_apiserver(cluster: Cluster) -> None:
    pid = next(part.pid for part in cluster.parts() if part.name == APISERVER)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def test_the_api_server_is_killed_and_the_run_ends_meanwhile(
    operator: OperatorProcess, light_runs: Runs, standin: Standin, python_image: str, host: Host, cluster: Cluster
) -> None:
    light_runs.apply("run", prompt="SLEEP{1} ECHO{no-api-server}", image=python_image)
    uid = light_runs.until("run", reason_is("Running"))["metadata"]["uid"]
    pid, said = operator.pid, operator.log.stat().st_size
    kill_apiserver(cluster)
    try:
        assert host.await_end(uid) == 0
        failures = f"{uid}: the API server:".encode()
        host.until(lambda: operator.log.read_bytes()[said:].count(failures) >= 2, "the operator has tried and failed")
    finally:
        cluster.up()
    completed(light_runs.until("run", finished), "no-api-server")
    completed(light_runs.run("next", prompt="ECHO{api-server-back}", image=python_image), "api-server-back")
    assert operator.pid == pid
    os.kill(pid, 0)
    assert [sent(standin, mark) for mark in ("no-api-server", "api-server-back")] == [1, 1]
    light_runs.delete("run")
    host.await_gone(uid)


def test_an_operator_that_starts_without_an_api_server_waits_for_it(
    new_operator: NewOperator, light_runs: Runs, python_image: str, host: Host, cluster: Cluster
) -> None:
    light_runs.apply("run", prompt="ECHO{started-without}", image=python_image)
    operator = new_operator()
    said = operator.log.stat().st_size if operator.log.exists() else 0
    kill_apiserver(cluster)
    try:
        operator.start(wait=False)
        host.until(
            lambda: b"waiting for the API server" in operator.log.read_bytes()[said:], "it says what it waits for"
        )
    finally:
        cluster.up()
    try:
        completed(light_runs.until("run", finished), "started-without")
    finally:
        operator.stop()


def test_an_attempt_of_another_boot_whose_prompt_was_sent_is_lost(
    operator: OperatorProcess, light_runs: Runs, standin: Standin, python_image: str, host: Host, kubectl: Kubectl
) -> None:
    light_runs.apply("run", prompt="SLEEP{30} ECHO{rebooted}", image=python_image)
    uid = light_runs.until("run", reason_is("Running"))["metadata"]["uid"]
    host.until(lambda: sent(standin, "rebooted") == 1, "the prompt is sent")
    operator.stop()
    another_boot(kubectl, light_runs)
    host.podman.run("kill", naming.agent(uid).name)
    operator.start()
    lost = light_runs.until("run", finished)
    assert condition(lost)["reason"] == "ContainerLost"
    assert sent(standin, "rebooted") == 1


def test_an_attempt_of_another_boot_whose_prompt_was_not_sent_is_tried_again(
    operator: OperatorProcess, light_runs: Runs, standin: Standin, python_image: str, host: Host, kubectl: Kubectl
) -> None:
    """It was recorded, but its container could not be created: another container has its name."""
    operator.stop()
    light_runs.apply("run", prompt="ECHO{tried-again}", image=python_image)
    uid = light_runs.get("run")["metadata"]["uid"]
    host.podman.run("create", "--name", naming.agent(uid).name, python_image, "true")
    operator.start()
    light_runs.until("run", reason_is("PodmanUnavailable"))
    operator.stop()
    another_boot(kubectl, light_runs)
    host.podman.run("rm", naming.agent(uid).name)
    operator.start()
    done = light_runs.until("run", finished)
    completed(done, "tried-again")
    assert [(a["number"], a["reason"]) for a in done["status"]["attempts"]] == [(1, "ContainerLost"), (2, "Completed")]
    assert sent(standin, "tried-again") == 1


def another_boot(kubectl: Kubectl, runs: Runs) -> None:
    patch = [{"op": "replace", "path": "/status/attempts/0/bootID", "value": "another-boot"}]
    options = ("--subresource=status", "--type=json", "-p", json.dumps(patch))
    kubectl("-n", runs.namespace, "patch", "agentrun", "run", *options)


def test_what_has_ended_never_changes(
    operator: OperatorProcess, light_runs: Runs, standin: Standin, python_image: str, kubectl: Kubectl
) -> None:
    """Labels, annotations, restarts of the operator and deleted policies do not change a status."""
    specs: dict[str, dict[str, Any]] = {
        "completed": {"prompt": "ECHO{ended}", "image": python_image},
        "failed": {"prompt": "STATUS{400}", "image": python_image},
        "refused": {"prompt": "x", "image": python_image, "volumes": ["/nowhere:/somewhere"]},
    }
    ended = light_runs.run_all(specs)
    for name in specs:
        kubectl("-n", light_runs.namespace, "annotate", "agentrun", name, "touched=yes")
        kubectl("-n", light_runs.namespace, "label", "agentrun", name, "touched=yes")
    touched = {name: light_runs.get(name) for name in specs}
    operator.stop()
    operator.start()
    kubectl("delete", "agentpolicy", f"{light_runs.namespace}-light")
    # A later run has been handled, so the effects of the earlier events have happened too.
    light_runs.run("later", prompt="x", image=python_image)
    for name, before in ended.items():
        after = light_runs.get(name)
        assert after["status"] == before["status"], name
        assert after["metadata"]["resourceVersion"] == touched[name]["metadata"]["resourceVersion"], name
    assert sent(standin, "ECHO{ended}") == 1
    light_runs.policy("light")  # for the fixture to remove


def test_a_second_operator_in_one_home_is_refused(operator: OperatorProcess, new_operator: NewOperator) -> None:
    said = operator.log.stat().st_size
    with pytest.raises(RuntimeError, match="the operator ended with 1"):
        new_operator().start()
    words = operator.log.read_bytes()[said:].decode()
    assert "stromboli: STROMBOLI_HOME: another operator is running in" in words
    assert "Traceback" not in words
    os.kill(operator.pid, 0)
    assert (operator.home / "operator.ready").read_text().strip() == str(operator.pid)


def test_a_second_operator_of_one_node_is_refused(
    operator: OperatorProcess, new_operator: NewOperator, folder: Path
) -> None:
    """In another home it would not find the records of the first operator's attempts."""
    second = new_operator()
    second.home = folder / "home-of-a-second"
    with pytest.raises(RuntimeError, match="another operator is running for this cluster as node test-node"):
        second.start()
    assert "Traceback" not in second.last_words()


def test_two_operators_on_one_machine_share_the_runs(
    operator: OperatorProcess,
    light_runs: Runs,
    standin: Standin,
    python_image: str,
    folder: Path,
    runtime_dir: Path,
) -> None:
    other = OperatorProcess(
        home=folder / "home-b",
        runtime_dir=runtime_dir,
        kubeconfig=operator.kubeconfig,
        podman_socket=operator.podman_socket,
        environ={"STROMBOLI_NODE": "node-b"},
    )
    marks = [f"shared-{n}" for n in range(8)]
    with other:
        specs = {m: {"prompt": f"SLEEP{{0.3}} ECHO{{{m}}}", "image": python_image} for m in marks}
        ends = light_runs.run_all(specs)
        for mark in marks:
            completed(ends[mark], mark)
        assert [sent(standin, mark) for mark in marks] == [1] * len(marks)
        light_runs.apply("owned", prompt="SLEEP{30} ECHO{owned}", image=python_image)
        owner = light_runs.until("owned", reason_is("Running"))["status"]["node"]
        stranger = operator if owner == "node-b" else other
        stranger.stop()
        version = light_runs.get("owned")["metadata"]["resourceVersion"]
        stranger.start()
        assert light_runs.get("owned")["metadata"]["resourceVersion"] == version
    light_runs.delete("owned")
    assert {obj["status"]["node"] for obj in ends.values()} <= {"test-node", "node-b"}
