"""The read API as people reach it: by the API server and the gateway, with what they log in with anyway."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from stromboli.controlplane.binaries import Binaries
from stromboli.controlplane.cluster import Cluster
from stromboli.naming import AGENTS_API, AGENTS_GROUP
from tests.support import people
from tests.support.cluster import Kubectl
from tests.support.gateways import GatewayProcess, until
from tests.support.operator import OperatorProcess
from tests.support.runs import Runs, condition

pytestmark = pytest.mark.usefixtures("gateway")
RULES = ("get", AGENTS_GROUP, "agentruns/log")
Spaces = Callable[..., Runs]


@pytest.fixture(scope="module")
def theirs(spaces: Spaces, python_image: str) -> dict[str, Runs]:
    """Two namespaces, in each of which a run has ended."""
    made = {name: spaces(f"read-{name}", light=True) for name in ("ada", "bob")}
    for name, runs in made.items():
        done = runs.run("mine", prompt=f"ECHO{{said by {name}}}", image=python_image)
        assert condition(done)["reason"] == "Completed", condition(done)["message"]
    return made


def log(namespace: str, **query: str) -> str:
    asked = "&".join(f"{key}={value}" for key, value in query.items())
    return f"{AGENTS_API}/namespaces/{namespace}/agentruns/mine/log?{asked}"


def test_a_user_with_a_client_certificate_and_a_service_account_each_read_their_own(
    theirs: dict[str, Runs], cluster: Cluster, kubectl: Kubectl, programs: Binaries, tmp_path: Path
) -> None:
    users = {
        "ada": people.certificate_user(cluster, tmp_path / "ada", "ada", ["readers"]),
        "bob": people.service_account(kubectl, cluster, tmp_path / "bob", "bob", "read-bob"),
    }
    people.may(kubectl, "read-ada", {"kind": "Group", "name": "readers"}, RULES)
    people.may(kubectl, "read-bob", {"kind": "ServiceAccount", "name": "bob", "namespace": "read-bob"}, RULES)
    for name, other in (("ada", "bob"), ("bob", "ada")):
        person = Kubectl(programs.kubectl, users[name])
        assert f"said by {name}" in person("get", "--raw", log(f"read-{name}"))
        refused = person.attempt("get", "--raw", log(f"read-{other}"))
        assert refused.returncode == 1
        assert "Forbidden" in refused.stderr
        assert "said by" not in refused.stdout + refused.stderr


def test_a_run_of_that_name_that_is_another(theirs: dict[str, Runs], kubectl: Kubectl) -> None:
    uid = kubectl("-n", "read-ada", "get", "agentrun", "mine", "-o", "jsonpath={.metadata.uid}")
    assert "said by ada" in kubectl("get", "--raw", log("read-ada", uid=uid))
    refused = kubectl.attempt("get", "--raw", log("read-ada", uid="00000000-0000-0000-0000-000000000000"))
    assert uid in refused.stderr


def test_a_gateway_that_was_killed(theirs: dict[str, Runs], kubectl: Kubectl, gateway: GatewayProcess) -> None:
    gateway.kill()
    assert kubectl.attempt("get", "--raw", log("read-ada")).returncode == 1
    gateway.start()
    kubectl("wait", "--for=condition=Available", "apiservice", "--all", "--timeout=25s")
    assert "said by ada" in kubectl("get", "--raw", log("read-ada"))


def test_an_operator_that_is_down_keeps_nothing_else_from_working(
    theirs: dict[str, Runs], kubectl: Kubectl, steady_operator: OperatorProcess
) -> None:
    steady_operator.stop()
    try:
        refused = kubectl.attempt("get", "--raw", log("read-ada"))
        assert refused.returncode == 1
        assert "test-node" in refused.stderr, "the message says whose operator it is"
        resources = json.loads(kubectl("get", "--raw", AGENTS_API))["resources"]
        assert "agentruns/log" in [resource["name"] for resource in resources]
        kubectl("create", "namespace", "read-passing")
        kubectl("delete", "namespace", "read-passing", "--timeout=25s")
    finally:
        steady_operator.start()
    until(
        lambda: "said by ada" in kubectl.attempt("get", "--raw", log("read-ada")).stdout, "the operator is asked again"
    )
