"""manifests/ on a fresh API server: one command installs them, and each account has only the permissions it needs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from stromboli.controlplane.binaries import Binaries
from stromboli.controlplane.cluster import Cluster
from tests.support.cluster import Kubectl
from tests.support.documents import DOCUMENTS, blocks
from tests.support.runs import Runs, condition, reason_is

ROOT = Path(__file__).parent.parent.parent
MANIFESTS = ROOT / "manifests"
OPERATOR = "system:serviceaccount:stromboli-system:stromboli-operator"


@pytest.fixture(scope="module")
def onto_fresh(own: Cluster, programs: Binaries) -> str:
    """The output of the command that kustomization.yaml gives for a fresh cluster."""
    [line] = re.findall(r"^#   (kubectl apply .* && .*)$", (MANIFESTS / "kustomization.yaml").read_text(), re.MULTILINE)
    environ = {"PATH": f"{programs.folder}:{os.defpath}", "HOME": str(own.kubeconfig.parent)}
    done = subprocess.run(
        ["sh", "-ec", line],
        cwd=ROOT,
        env={**environ, "KUBECONFIG": str(own.kubeconfig)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((MANIFESTS / name).read_text()))


# --- installing ---


def test_one_line_installs_all_of_it(onto_fresh: str, admin: Kubectl) -> None:
    kinds = "namespace serviceaccount deployment.apps apiservice agentpolicy.stromboli.dev clusterrolebinding"
    for kind in kinds.split():
        assert re.search(rf"^{kind}\S*/\S+ created$", onto_fresh, re.MULTILINE), kind
    again = admin("apply", "-k", str(MANIFESTS)).splitlines()
    # Of any budget kubectl says this: it sends the selector whenever it applies one.
    changed = {line for line in again if not line.endswith(" unchanged")}
    assert changed == {"poddisruptionbudget.policy/stromboli-gateway configured"}, "applying it again changes something"


def test_an_update_needs_the_second_half_only(onto_fresh: str, admin: Kubectl) -> None:
    """Also with another field manager, as used by GitOps tools."""
    admin("apply", "--server-side", "--field-manager=gitops", "--force-conflicts", "-k", str(MANIFESTS))


def test_the_http_api_is_switched_on_by_its_component(onto_fresh: str, admin: Kubectl, tmp_path: Path) -> None:
    """As kustomization.yaml says: by removing a #."""
    for name in ("crds", "manifests"):
        shutil.copytree(ROOT / name, tmp_path / name)
    file = tmp_path / "manifests/kustomization.yaml"
    switched = file.read_text().replace("\n# components: [http]", "\ncomponents: [http]")
    assert switched != file.read_text()
    file.write_text(switched)
    said = admin("apply", "--dry-run=server", "-k", str(file.parent)).splitlines()
    assert [line for line in said if " created" in line] == ["service/stromboli-http created (server dry run)"]
    assert "deployment.apps/stromboli-gateway configured (server dry run)" in said


def test_the_deployment_and_its_pod_are_valid(onto_fresh: str, admin: Kubectl) -> None:
    admin("apply", "--dry-run=server", "-f", str(MANIFESTS / "operator.yaml"))
    template = documents("operator.yaml")[0]["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe", "namespace": "stromboli-system"}}
    created = json.loads(
        admin("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(pod | {"spec": template["spec"]}))
    )
    assert created["spec"]["serviceAccountName"] == "stromboli-operator"


def test_operator_and_podman_see_the_same_files() -> None:
    """Each host folder has the same path in the Pod, and every path in the settings is in one of them."""
    spec = documents("operator.yaml")[0]["spec"]["template"]["spec"]
    [container] = spec["containers"]
    host = {v["name"]: v["hostPath"]["path"] for v in spec["volumes"] if "hostPath" in v}
    mounts = {m["mountPath"] for m in container["volumeMounts"] if host.get(m["name"]) == m["mountPath"]}
    assert mounts == set(host.values())
    env = {e["name"]: e.get("value", "") for e in container["env"]}
    for path in (env["STROMBOLI_HOME"], env["STROMBOLI_RUNTIME_DIR"]):
        assert path in mounts
    assert str(Path(env["CONTAINER_HOST"].removeprefix("unix://")).parent) in mounts


def test_probes_ask_where_health_is_served() -> None:
    [container] = documents("operator.yaml")[0]["spec"]["template"]["spec"]["containers"]
    env = {e["name"]: e.get("value", "") for e in container["env"]}
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for probe, path in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        asked = container[probe]["httpGet"]
        assert asked["path"] == path
        assert env["STROMBOLI_HEALTH_ADDRESS"] == f"$(POD_IP):{ports[asked['port']]}"


def test_there_is_never_a_second_operator() -> None:
    spec = documents("operator.yaml")[0]["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    assert spec["template"]["spec"]["nodeSelector"] == {"stromboli.dev/node": "true"}
    assert spec["template"]["spec"]["enableServiceLinks"] is False


# --- permissions ---

POLICIES = "agentpolicies.stromboli.dev"
READ = {
    "agentruns.agents.stromboli.dev/log": {"get"},
    "agentsessions.agents.stromboli.dev/messages": {"get"},
    "images.agents.stromboli.dev": {"get", "list"},
    "claudestatus.agents.stromboli.dev": {"get", "list"},
}


def test_the_operator_may_do_what_it_does_and_no_more(onto_fresh: str, admin: Kubectl) -> None:
    """The permissions reported by the API server, in any namespace, compared with the written rules."""
    rules = next(d for d in documents("rbac.yaml") if d["metadata"]["name"] == "stromboli-operator" and "rules" in d)
    written = {
        _listed_as(resource, group): set(rule["verbs"])
        for rule in rules["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    listed = admin("auth", "can-i", "--list", f"--as={OPERATOR}", "--namespace=default")
    everybody = admin("auth", "can-i", "--list", "--as=system:serviceaccount:default:default", "--namespace=default")
    granted = _granted(listed)
    for resource in _granted(everybody):
        granted.pop(resource)
    written.pop(POLICIES)  # readable by everybody
    assert granted == written


def _listed_as(resource: str, group: str) -> str:
    """The name used by `kubectl auth can-i --list`: `agentruns.GROUP/status` for `agentruns/status`."""
    kind, slash, subresource = resource.partition("/")
    return ".".join(filter(None, (kind, group))) + slash + subresource


def _granted(listed: str) -> dict[str, set[str]]:
    """Verbs by resource, from the table of `kubectl auth can-i --list`."""
    rows = [re.fullmatch(r"(\S+) +\[\] +\[(.*?)\] +\[(.*)\]", line) for line in listed.splitlines()[1:]]
    return {row[1]: set(row[3].split()) for row in rows if row}


@pytest.mark.parametrize(
    "asked",
    [
        "list secrets",
        "list configmaps",
        "watch secrets",
        "list namespaces",
        "get pods",
        "create pods",
        "create agentruns",
        "patch agentruns",
        "update agentpolicies",
        "get events",
        "get agentsessions --subresource=messages",
        "impersonate users",
    ],
)
def test_the_operator_may_not(onto_fresh: str, admin: Kubectl, asked: str) -> None:
    said = admin.attempt("auth", "can-i", *asked.split(), f"--as={OPERATOR}", "--all-namespaces")
    assert said.stdout.strip() == "no", said.stderr


def test_a_person_with_the_users_role_runs_agents_and_writes_no_outcome(onto_fresh: str, admin: Kubectl) -> None:
    admin("create", "namespace", "team")
    for role, who in (("user", "jane"), ("viewer", "vera")):
        admin("-n", "team", "create", "rolebinding", who, f"--clusterrole=stromboli-{role}", f"--user={who}")
    everything = {"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
    for who, verbs in (("jane", everything), ("vera", {"get", "list", "watch"})):
        kinds = {f"{kind}.stromboli.dev": verbs for kind in ("agentruns", "agentsessions", "agentimages")}
        policies = {POLICIES: {"get", "list", "watch"}}
        assert _ours(admin, who, "team") == kinds | policies | READ
        assert _ours(admin, who, "default") == policies
        assert admin("auth", "can-i", "list", "events", f"--as={who}", "--namespace=team").strip() == "yes"


def _ours(admin: Kubectl, who: str, namespace: str) -> dict[str, set[str]]:
    granted = _granted(admin("auth", "can-i", "--list", f"--as={who}", f"--namespace={namespace}"))
    return {resource: verbs for resource, verbs in granted.items() if "stromboli.dev" in resource}


# --- the default policy ---


def test_the_default_policy_is_restrictive(spaces: Callable[..., Runs], tmp_path: Path) -> None:
    runs = spaces("default-policy", own=True)
    [policy] = documents("policy.yaml")
    runs.policy("default", **policy["spec"])
    refused: dict[str, dict[str, Any]] = {
        "elsewhere": {"image": "bitnami/redis"},
        "other-registry": {"image": "ghcr.io/library/python:3"},
        "a-like-name": {"image": "python-evil:1"},
        "host-path": {"image": "python:3.12", "volumes": [f"{tmp_path}:/workspace"]},
        "the-socket": {"image": "python:3.12", "volumes": ["/run/podman:/podman:ro"]},
    }
    done = runs.run_all({name: {"prompt": "hello", **spec} for name, spec in refused.items()})
    reasons = {name: condition(run)["reason"] for name, run in done.items()}
    assert reasons == {
        "elsewhere": "ImageNotAllowed",
        "other-registry": "ImageNotAllowed",
        "a-like-name": "ImageNotAllowed",
        "host-path": "PolicyViolation",
        "the-socket": "PolicyViolation",
    }
    assert "python:*" in condition(done["elsewhere"])["message"]
    assert "no host path" in condition(done["host-path"])["message"]
    # An allowed run gets past the policy, here as far as the default CLI image, which is unavailable.
    runs.apply("allowed", prompt="hello", image="python:3.12")
    runs.until("allowed", reason_is("CLIImageUnavailable"))
    runs.delete("allowed")


# --- the documents' commands for a cluster ---


def test_what_an_administrator_types(onto_fresh: str, own: Cluster, admin: Kubectl, programs: Binaries) -> None:
    """Each command as printed, in reading order; the last ones remove everything."""
    admin("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node"}}))
    # Nothing runs the Pods of the gateway here, and without it no namespace is ever deleted.
    admin("delete", "apiservice", "v1alpha1.agents.stromboli.dev")
    admin("delete", "namespace", "team")
    environ = {
        "PATH": f"{programs.folder}:{os.defpath}",
        "HOME": str(own.kubeconfig.parent),
        "KUBECONFIG": str(own.kubeconfig),
        "NODE": "node",
        "KEY": "sk-ant-api03-none",
    }
    typed = [block for path in DOCUMENTS for block in blocks(path) if block.where == "cluster"]
    assert len(typed) > 3
    for block in typed:
        done = subprocess.run(
            ["sh", "-ec", block.text],
            cwd=ROOT,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{block}: {done.stdout}{done.stderr}"
    assert admin.attempt("get", "agentruns").returncode != 0, "it is still there"
