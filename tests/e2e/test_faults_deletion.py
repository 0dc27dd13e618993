"""Nothing of a deleted run stays on the host; nothing that belongs to others is ever removed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from stromboli import naming
from tests.support.cluster import Kubectl
from tests.support.host import Host
from tests.support.operator import OperatorProcess
from tests.support.podman import IsolatedPodman
from tests.support.runs import Runs, completed, condition, make_namespace, reason_is

AT_ONCE = 5.0  # seconds; half a second on an idle machine
OTHERS = "22222222-2222-4222-8222-222222222222"
LABELS: dict[str, dict[str, str]] = {
    "none": {},
    "composed": {"io.podman.compose.project": "theirs"},
    "another-clusters": {
        naming.INSTALLATION: OTHERS,
        naming.OWNER: "33333333-3333-4333-8333-333333333333",
        naming.ROLE: naming.AGENT,
    },
}


@pytest.fixture(scope="module", autouse=True)
def others(isolated_podman: IsolatedPodman, python_image: str) -> Iterator[None]:
    """Objects of others in the same Podman stay unchanged during all tests of this module."""
    for name, labels in LABELS.items():
        options = [part for key, value in labels.items() for part in ("--label", f"{key}={value}")]
        isolated_podman.run("volume", "create", *options, f"theirs-{name}")
        isolated_podman.run("network", "create", *options, f"theirs-{name}")
        isolated_podman.run(
            "run", "--detach", "--network", "none", "--name", f"theirs-{name}", *options, python_image, "sleep", "600"
        )
    yield
    for name in LABELS:
        container = f"theirs-{name}"
        state = json.loads(isolated_podman.run("container", "inspect", container))[0]["State"]
        assert state["Running"], f"{container} is no longer running"
        isolated_podman.run("volume", "inspect", container)
        isolated_podman.run("network", "inspect", container)
        isolated_podman.run("rm", "--force", "--time", "0", container)
        isolated_podman.run("volume", "rm", container)
        isolated_podman.run("network", "rm", container)


def at_work(runs: Runs, image: str, name: str = "run") -> str:
    """Start a run that takes minutes. Returns its UID."""
    runs.apply(name, prompt="SLEEP{300}", image=image)
    uid: str = runs.until(name, reason_is("Running"))["metadata"]["uid"]
    return uid


def test_a_run_deleted_at_work_is_gone_at_once(
    steady_operator: OperatorProcess, light_runs: Runs, python_image: str, host: Host
) -> None:
    uid = at_work(light_runs, python_image)
    kinds = {entry.split("/")[0].split(" ")[0] for entry in host.left(uid)}
    assert kinds == {"container", "volume", ""}
    assert sum("/secrets/" in entry for entry in host.left(uid)) == 1
    light_runs.delete("run")
    assert host.await_gone(uid) < AT_ONCE


def test_a_run_deleted_while_it_starts_is_gone_at_once(
    steady_operator: OperatorProcess, light_runs: Runs, python_image: str, host: Host
) -> None:
    light_runs.apply("run", prompt="SLEEP{300}", image=python_image)
    # On a loaded machine it may already have started when the watch event arrives.
    begun = light_runs.until("run", lambda obj: condition(obj).get("reason") in ("Starting", "Running"))
    light_runs.delete("run")
    host.await_gone(begun["metadata"]["uid"])


def test_a_run_deleted_while_the_operator_is_down_is_gone_after_its_start(
    steady_operator: OperatorProcess, light_runs: Runs, python_image: str, host: Host
) -> None:
    uid = at_work(light_runs, python_image)
    steady_operator.kill()
    light_runs.delete("run")
    assert host.left(uid)
    steady_operator.start()
    host.await_gone(uid)


def test_a_finished_run_keeps_its_folder_until_it_is_deleted(
    steady_operator: OperatorProcess, light_runs: Runs, python_image: str, host: Host
) -> None:
    done = light_runs.run("run", prompt="ECHO{kept}", image=python_image)
    uid = done["metadata"]["uid"]
    host.until(lambda: host.left(uid) == [str(host.home / "sessions" / uid)], "its folder alone is left")
    light_runs.delete("run")
    assert host.await_gone(uid) < AT_ONCE


def test_a_namespace_goes_with_all_that_its_runs_have(
    steady_operator: OperatorProcess, light_runs: Runs, python_image: str, host: Host, kubectl: Kubectl
) -> None:
    space = f"{light_runs.namespace[:40]}-gone"
    make_namespace(light_runs.client, space, own_policies=True)
    runs = Runs(light_runs.kubectl, light_runs.client, space)
    body = json.loads(kubectl("get", "agentpolicy", f"{light_runs.namespace}-light", "-o", "json"))
    spec = {k: v for k, v in body["spec"].items() if k != "namespaceSelector"}
    policy = runs.policy("light", **spec)
    uids = [at_work(runs, python_image, f"run-{n}") for n in range(2)]
    done = runs.run("done", prompt="ECHO{done}", image=python_image)
    completed(done)
    kubectl("delete", "namespace", space)
    for uid in (*uids, done["metadata"]["uid"]):
        host.await_gone(uid)
    kubectl("delete", "agentpolicy", policy)


def test_the_network_of_a_namespace_goes_with_its_last_run(
    steady_operator: OperatorProcess, light_runs: Runs, python_image: str, host: Host, kubectl: Kubectl
) -> None:
    """It is removed by the sweep, which runs at the start."""
    patch = json.dumps({"spec": {"network": "bridge"}})
    kubectl("patch", "agentpolicy", f"{light_runs.namespace}-light", "--type=merge", "-p", patch)
    before = set(host.networks())
    done = light_runs.run("run", prompt="ECHO{bridged}", image=python_image)
    assert condition(done)["reason"] == "Completed", condition(done)["message"]
    made = set(host.networks()) - before
    assert len(made) == 1
    steady_operator.stop()
    steady_operator.start()
    assert set(host.networks()) - before == made
    light_runs.delete("run")
    steady_operator.stop()
    steady_operator.start()
    host.until(lambda: set(host.networks()) == before, "the network is gone")
