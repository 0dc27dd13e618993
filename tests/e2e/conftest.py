"""Fixtures. Everything is real: etcd and kube-apiserver, Podman, the Claude CLI, the operator and its service account.

Only the Messages API is a stand-in, reached over a Unix socket that the policy names.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from lightkube import Client

from stromboli.controlplane.cluster import Cluster
from stromboli.kube.kinds import AgentPolicy, Namespace
from stromboli.naming import AGENTS_API, API_SERVICE
from tests.support import gateways, images, light_cli
from tests.support import http_api as http
from tests.support.cluster import Kubectl
from tests.support.gateways import GatewayProcess
from tests.support.host import Host
from tests.support.http_api import HttpApi
from tests.support.operator import OperatorProcess, Standin, service_account_kubeconfig
from tests.support.podman import IsolatedPodman
from tests.support.runs import OWN_POLICIES, Runs, connected, make_namespace
from tests.support.session_podman import isolated_podman as isolated_podman
from tests.support.session_podman import podman_env as podman_env
from tests.support.session_podman import registry_address as registry_address

# The slowest modules of both folders come first, so that no worker is left with one of them at the end.
LONGEST = (
    "test_faults_many",
    "test_compose_ordinary",
    "test_compose_killed",
    "test_compose_lives",
    "test_compose_faults",
    "test_compose_files",
    "test_compose_apart",
    "test_local",
    "test_documents",
    "test_watch",
    "test_rootless",
    "test_compose_rootless",
    "test_endings_killed",
    "test_http_killed",
    "test_sessions_killed",
    "test_podman_copies",
    "test_copies",
    "test_agentimages",
    "test_conversations",
    "test_sessions",
    "test_compose",
    "test_supervisor",
    "test_inspection",
    "test_manifests",
    "test_options",
    "test_process",
    "test_images",
    "test_images_local",
    "test_faults_operator",
    "test_faults_cluster",
    "test_sessions_fork",
    "test_policies",
    "test_examples",
    "test_controlplane",
    "test_faults_hostile",
    "test_faults_podman",
    "test_faults_deletion",
    "test_container",
    "test_users",
)
LOG_SHOWN = 12_000
ROOT = Path(__file__).parent.parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order modules by duration, the longest first; the order within a module is kept."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add the operator's last log lines to a failure: its home is removed before anybody can look at it."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    folder = getattr(item, "funcargs", {}).get("folder")
    if report.failed and folder is not None:
        for log in sorted(folder.glob("*.log")):
            report.sections.append((f"{log.name}, its end", log.read_text(errors="replace")[-LOG_SHOWN:]))


@pytest.fixture(scope="session")
def cli_image(podman_env: dict[str, str]) -> str:
    """The real Claude CLI."""
    return images.build("cli", podman_env)


@pytest.fixture(scope="session")
def python_image(podman_env: dict[str, str]) -> str:
    """A glibc image with Python and without the CLI."""
    return images.build("glibc", podman_env)


@pytest.fixture(scope="session")
def installed(cluster: Cluster, kubectl: Kubectl) -> None:
    """The namespace, roles and CRDs of manifests/, installed as by an administrator (without the Deployment)."""
    kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
    kubectl("wait", "--for=condition=Established", "--timeout=20s", "-f", str(ROOT / "crds"))
    kubectl("apply", "-f", str(ROOT / "manifests/namespace.yaml"), "-f", str(ROOT / "manifests/rbac.yaml"))


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder with a short path, for sockets and the operator's home."""
    path = Path(tempfile.mkdtemp(prefix="stromboli-e2e-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def standin(folder: Path) -> Iterator[Standin]:
    with Standin(folder / "gateway") as running:
        yield running


@pytest.fixture(scope="session")
def runtime_dir() -> Iterator[Path]:
    """A folder on a tmpfs, as required for secrets."""
    path = Path(tempfile.mkdtemp(prefix="stromboli-e2e-", dir="/dev/shm"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def policy(installed: None, kubectl: Kubectl, standin: Standin, cli_image: str) -> dict[str, object]:
    """The policy of all end-to-end runs, and its Secret."""
    kubectl(
        "-n", "stromboli-system", "create", "secret", "generic", "claude",
        "--from-literal=ANTHROPIC_API_KEY=stand-in-key-5f1c",
    )  # fmt: skip
    body = policy_body(standin, cli_image)
    kubectl("apply", "-f", "-", stdin=json.dumps(body))
    return body


def policy_body(standin: Standin, cli_image: str, name: str = "tests") -> dict[str, object]:
    image, tag = cli_image.rsplit(":", 1)
    return {
        "apiVersion": "stromboli.dev/v1alpha1",
        "kind": "AgentPolicy",
        "metadata": {"name": name},
        "spec": {
            "namespaceSelector": {"matchExpressions": [{"key": OWN_POLICIES, "operator": "DoesNotExist"}]},
            "images": {"allowed": ["**"]},
            "cli": {"image": image, "tag": tag, "pull": "Never"},
            "network": "none",
            "env": [
                {"name": "ANTHROPIC_UNIX_SOCKET", "value": str(standin.socket)},
                {"name": "ANTHROPIC_BASE_URL", "value": "http://gateway"},
                {"name": "CLAUDE_CODE_MAX_RETRIES", "value": "0"},
            ],
            "credentials": {"secretRef": {"name": "claude"}},
            "volumes": {"allowed": [{"path": str(standin.folder.parent / "work")}]},
        },
    }


@pytest.fixture(scope="session")
def light_spec(policy: dict[str, object], podman_env: dict[str, str]) -> dict[str, Any]:
    """The spec of the tests' policy with the light CLI, for a namespace with policies of its own."""
    image, tag = light_cli.build(podman_env).rsplit(":", 1)
    same = {k: v for k, v in cast(Mapping[str, Any], policy["spec"]).items() if k != "namespaceSelector"}
    return same | {"cli": {"image": image, "tag": tag, "pull": "Never"}}


@pytest.fixture(scope="session")
def operator_kubeconfig(installed: None, cluster: Cluster, kubectl: Kubectl, folder: Path) -> Path:
    return service_account_kubeconfig(kubectl, cluster.kubeconfig, folder)


@pytest.fixture(scope="session")
def new_operator(
    policy: dict[str, object],
    operator_kubeconfig: Path,
    folder: Path,
    runtime_dir: Path,
    isolated_podman: IsolatedPodman,
) -> Callable[[], OperatorProcess]:
    """Creates an operator that is not started yet; its home is kept for the session."""
    return lambda: OperatorProcess(
        home=folder / "home",
        runtime_dir=runtime_dir,
        kubeconfig=operator_kubeconfig,
        podman_socket=isolated_podman.socket,
    )


@pytest.fixture
def operator(new_operator: Callable[[], OperatorProcess]) -> Iterator[OperatorProcess]:
    """A running operator, stopped after the test."""
    with new_operator() as process:
        yield process


@pytest.fixture(scope="module")
def steady_operator(new_operator: Callable[[], OperatorProcess]) -> Iterator[OperatorProcess]:
    """A running operator for all tests of a module, which do not disturb it."""
    with new_operator() as process:
        yield process


@pytest.fixture(scope="session")
def gateway(installed: None, cluster: Cluster, kubectl: Kubectl, folder: Path) -> Iterator[GatewayProcess]:
    """The gateway behind the API server, with its own service account: the way to the read API of a running operator,
    and the HTTP API, where calls without a token act as the administrator.

    A test that ends it has to start it again: while it is down, no namespace can be deleted. An operator says where it
    listens a moment after it is ready.
    """
    kubeconfig = service_account_kubeconfig(kubectl, cluster.kubeconfig, folder, "gateway")
    port = gateways.free_port()
    gateways.apply(kubectl, *gateways.registration("stromboli-system", port))
    process = GatewayProcess(
        kubeconfig,
        "stromboli-system",
        port,
        folder / "gateway.log",
        http_port=gateways.free_port(),
        local=cluster.kubeconfig,
    )
    process.start()
    try:
        gateways.until(lambda: cluster.get(AGENTS_API)[0] == 200, "the API server reaches the gateway")
        yield process
    finally:
        kubectl("delete", "apiservice", API_SERVICE)
        process.stop()


@pytest.fixture(scope="session")
def client(cluster: Cluster) -> Iterator[Client]:
    """A client of the API server as the administrator."""
    with connected(cluster.kubeconfig) as made:
        yield made


@pytest.fixture
def runs(kubectl: Kubectl, client: Client, request: pytest.FixtureRequest) -> Iterator[Runs]:
    """AgentRuns in a namespace of the test's own; they are deleted afterwards."""
    name = "t-" + "".join(c if c.isalnum() else "-" for c in request.node.name.lower())[:50].strip("-")
    make_namespace(client, name)
    made = Runs(kubectl, client, name)
    yield made
    made.clear()


@pytest.fixture
def light_runs(runs: Runs, client: Client, light_spec: dict[str, Any], python_image: str) -> Iterator[Runs]:
    """`runs` with the light CLI, which also sends its prompt."""
    client.patch(Namespace, runs.namespace, {"metadata": {"labels": {OWN_POLICIES: ""}}})
    name = runs.policy("light", **light_spec)
    yield runs
    client.delete(AgentPolicy, name)


@pytest.fixture
def host(isolated_podman: IsolatedPodman, folder: Path, runtime_dir: Path) -> Host:
    """The state of the host."""
    return Host(isolated_podman, folder / "home", runtime_dir)


@pytest.fixture(scope="module")
def spaces(
    steady_operator: OperatorProcess, kubectl: Kubectl, client: Client, light_spec: dict[str, Any]
) -> Iterator[Callable[..., Runs]]:
    """Creates namespaces for a module's runs, each with the session's policy, with the same and the light CLI
    (`light=True`), or without any (`own=True`).

    The runs and sessions are deleted with the module, and so are the policies that `Runs.policy` created for them.
    """
    made: list[Runs] = []

    def make(name: str, *, own: bool = False, light: bool = False) -> Runs:
        make_namespace(client, name, own_policies=own or light)
        made.append(Runs(kubectl, client, name))
        if light:
            made[-1].policy("light", **light_spec)
        return made[-1]

    yield make
    for policy in client.list(AgentPolicy):
        if policy.metadata is not None and _of(str(policy.metadata.name), [runs.namespace for runs in made]):
            client.delete(AgentPolicy, str(policy.metadata.name))
    for runs in made:
        runs.clear()


@pytest.fixture(scope="module")
def http_api(
    spaces: Callable[..., Runs], gateway: GatewayProcess, kubectl: Kubectl, request: pytest.FixtureRequest
) -> HttpApi:
    """The HTTP API, called by a user of a namespace of the module's own, with the session's policy and the light CLI.
    Calls without a token are in the namespace `default`, with the same policy and the real CLI.
    """
    name = request.node.path.stem.removeprefix("test_").replace("_", "-")
    namespace = spaces(name, light=True).namespace
    return HttpApi(gateway, kubectl, namespace, http.user(kubectl, namespace))


def _of(policy: str, namespaces: list[str]) -> bool:
    return any(policy.startswith(f"{name}-") for name in namespaces)


@pytest.fixture(scope="session", autouse=True)
def _no_leaks() -> Iterator[None]:
    """The machine's own configuration must not affect the tests' operator."""
    kept = {k: os.environ.pop(k) for k in list(os.environ) if k.startswith("STROMBOLI_")}
    yield
    os.environ.update(kept)
