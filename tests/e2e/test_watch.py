"""examples/watch/README.md, typed by a user with a client certificate; and who may read which logs.

The way is the real one: the API server decides who asks, the gateway finds the node, the operator answers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from lightkube import Client

from stromboli.controlplane.binaries import Binaries
from stromboli.controlplane.cluster import Cluster
from stromboli.kube.client import AgentPolicy
from stromboli.naming import AGENTS_API, API_SERVICE
from tests.support import gateways, people
from tests.support.cluster import Kubectl
from tests.support.documents import ROOT, blocks
from tests.support.operator import OperatorProcess
from tests.support.runs import Runs, condition, make_namespace

JANE, BOT = "watch-jane", "watch-bot"  # namespaces, and the users to whom they belong
SECONDS = 120.0


@pytest.fixture(scope="module")
def gateway(steady_operator: OperatorProcess, cluster: Cluster, kubectl: Kubectl, folder: Path) -> Iterator[None]:
    """The way from the API server to the operator."""
    with gateways.running_gateway(cluster.kubeconfig, "stromboli-system", folder / "gateway.log") as running:
        gateways.apply(kubectl, *gateways.registration("stromboli-system", running.port))
        gateways.until(lambda: cluster.get(AGENTS_API)[0] == 200, "the API server reaches the gateway")
        yield
        kubectl("delete", "apiservice", API_SERVICE)  # no namespace could be deleted without the gateway


@dataclass(frozen=True)
class Person:
    """Somebody with a shell in a checkout of the project, and a kubeconfig."""

    programs: Binaries
    kubeconfig: Path

    def types(self, command: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.programs.folder}:{Path(sys.executable).parent}:{os.defpath}"
        return subprocess.run(
            ["sh", "-ec", command],
            cwd=ROOT,
            env={"PATH": path, "HOME": str(self.kubeconfig.parent), "KUBECONFIG": str(self.kubeconfig)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )


@pytest.fixture(scope="module")
def jane(
    gateway: None,
    cluster: Cluster,
    kubectl: Kubectl,
    client: Client,
    programs: Binaries,
    folder: Path,
    python_image: str,
) -> Iterator[Person]:
    """She logs in with a client certificate, and may use Stromboli in her own namespace."""
    make_namespace(client, JANE)
    _may_use(kubectl, JANE, f"--user={JANE}")
    runs = Runs(kubectl, client, JANE)
    default = runs.policy("default", defaults={"image": python_image})
    yield Person(programs, people.certificate_user(cluster, folder / JANE, JANE, namespace=JANE))
    runs.clear()
    client.delete(AgentPolicy, default)


@pytest.fixture(scope="module")
def bot(
    gateway: None, cluster: Cluster, kubectl: Kubectl, client: Client, programs: Binaries, folder: Path
) -> Iterator[Person]:
    """A ServiceAccount that may use Stromboli in its own namespace."""
    make_namespace(client, BOT)
    _may_use(kubectl, BOT, f"--serviceaccount={BOT}:{BOT}")
    yield Person(programs, people.service_account(kubectl, cluster, folder / BOT, BOT, BOT))
    Runs(kubectl, client, BOT).clear()


def _may_use(kubectl: Kubectl, namespace: str, whom: str) -> None:
    kubectl("-n", namespace, "create", "rolebinding", "uses", "--clusterrole=stromboli-user", whom)


def test_the_readme_of_the_example(jane: Person, kubectl: Kubectl) -> None:
    typed = blocks(ROOT / "examples/watch/README.md")
    assert len(typed) == 5
    done = jane.types("\n".join(f"echo '=== {block}'\n{block.text}" for block in typed))
    said = done.stdout
    assert done.returncode == 0, said
    assert said.count("preparing, step 1 of 10") == 3, "followed, read again, and of the second run"
    assert said.count("preparing, step 10 of 10") == 1, "of the second run"
    assert said.count("\nCanceled: ") >= 1, said
    assert "This answer comes from Stromboli's offline stand-in" in said
    assert "-- answered after 1 turn" in said
    found = json.loads(kubectl("-n", JANE, "get", "agentruns", "-o", "json"))["items"]
    ends = {run["metadata"]["name"]: condition(run)["reason"] for run in found}
    assert ends.pop("watch") == "Canceled"
    assert list(ends.values()) == ["Completed"]


def test_everybody_reads_the_logs_of_their_own_namespace_only(
    jane: Person, bot: Person, kubectl: Kubectl, client: Client, python_image: str
) -> None:
    for namespace in (JANE, BOT):
        runs = Runs(kubectl, client, namespace)
        runs.run_all({"mine": {"prompt": f"ECHO{{said in {namespace}}}", "image": python_image}})
    for person, own, others in ((jane, JANE, BOT), (bot, BOT, JANE)):
        done = person.types("stromboli logs mine")
        assert (done.returncode, f"said in {own}\n" in done.stdout) == (0, True), done.stdout
        refused = person.types(f"stromboli logs mine -n {others}")
        assert (refused.returncode, f"said in {others}" in refused.stdout) == (1, False)
        assert "forbidden" in refused.stdout
        log = f"{AGENTS_API}/namespaces/{{}}/agentruns/mine/log"
        raw = person.types(f"kubectl get --raw {log.format(own)}")
        assert (raw.returncode, f"said in {own}" in raw.stdout) == (0, True), raw.stdout
        refused = person.types(f"kubectl get --raw {log.format(others)}")
        assert (refused.returncode, "agentruns/log" in refused.stdout) == (1, True), refused.stdout
