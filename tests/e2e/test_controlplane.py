"""The real control plane: what the operator and users need from it, and what it survives."""

from __future__ import annotations

import json
import os
import signal
import ssl
import tempfile
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import yaml

from stromboli.controlplane.binaries import Binaries
from stromboli.controlplane.cluster import Cluster
from stromboli.controlplane.parts import APISERVER, CONTROLLER_MANAGER, ETCD, ORDER
from tests.support import people
from tests.support.cluster import Kubectl

MIB = 1 << 20
ETCD_LIMIT = 1.5 * MIB  # etcd's default, which other clusters have too


@pytest.fixture(scope="module")
def notes(admin: Kubectl) -> str:
    """Apply a CRD. Returns its plural name."""
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"text": {"type": "string"}}}},
    }
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "notes.test.stromboli.dev"},
        "spec": {
            "group": "test.stromboli.dev",
            "scope": "Namespaced",
            "names": {"kind": "Note", "plural": "notes"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }
    admin("apply", "-f", "-", stdin=json.dumps(crd))
    admin("wait", "--for=condition=Established", "crd/notes.test.stromboli.dev", "--timeout=20s")
    return "notes.test.stromboli.dev"


def note(name: str, text: str, namespace: str = "default") -> str:
    metadata = {"name": name, "namespace": namespace}
    document = {
        "apiVersion": "test.stromboli.dev/v1",
        "kind": "Note",
        "metadata": metadata,
        "spec": {"text": text},
    }
    return json.dumps(document)


def pids(cluster: Cluster) -> dict[str, int]:
    """PIDs of the running parts, by name."""
    return {part.name: part.pid for part in cluster.parts() if part.pid}


def kill(cluster: Cluster, name: str) -> None:
    """Send SIGKILL and wait for the exit."""
    pid = pids(cluster)[name]
    pidfd = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)
    os.close(pidfd)


def test_namespaces_and_versions(own: Cluster, admin: Kubectl) -> None:
    assert "namespace/kube-system" in admin("get", "ns", "-o", "name").split()
    versions: dict[str, Any] = json.loads(admin("version", "-o", "json"))
    assert versions["serverVersion"]["gitVersion"] == versions["clientVersion"]["gitVersion"]
    assert list(pids(own)) == list(ORDER)


def test_a_prompt_of_a_mebibyte_by_server_side_apply(admin: Kubectl, notes: str) -> None:
    text = ("word " * 15 + "\n") * (MIB // 76)
    admin("apply", "--server-side", "-f", "-", stdin=note("large", text))
    assert json.loads(admin("get", notes, "large", "-o", "json"))["spec"]["text"] == text


def test_more_than_etcd_takes_is_refused_with_a_sentence(admin: Kubectl, notes: str) -> None:
    refused = admin.attempt("apply", "--server-side", "-f", "-", stdin=note("huge", "x" * int(ETCD_LIMIT + 1)))
    assert refused.returncode == 1
    assert "request is too large" in refused.stderr
    assert admin.attempt("get", notes, "huge").returncode == 1


def test_an_operator_under_a_service_accounts_token(
    own: Cluster, admin: Kubectl, programs: Binaries, notes: str, tmp_path: Path
) -> None:
    admin("create", "namespace", "accounts")
    admin("create", "serviceaccount", "reader", "-n", "accounts")
    admin("create", "role", "reader", "--verb=get,list", f"--resource={notes}", "-n", "accounts")
    admin(
        "create",
        "rolebinding",
        "reader",
        "--role=reader",
        "--serviceaccount=accounts:reader",
        "-n",
        "accounts",
    )
    token = admin("create", "token", "reader", "-n", "accounts").strip()
    reader = Kubectl(programs.kubectl, own.kubeconfig_for(token, tmp_path / "kubeconfig", "accounts"))
    assert reader("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}") == (
        "system:serviceaccount:accounts:reader"
    )
    assert reader("get", notes) == ""
    refused = reader.attempt("get", notes, "-n", "default")
    assert "Forbidden" in refused.stderr


def test_deleting_a_namespace_ends_and_takes_its_objects_along(admin: Kubectl, notes: str) -> None:
    admin("create", "namespace", "passing")
    admin("apply", "-f", "-", stdin=note("inside", "text", "passing"))
    admin("delete", "namespace", "passing", "--timeout=25s")
    assert "passing" not in admin("get", notes, "-A", "-o", "name")


def test_an_owned_object_goes_with_its_owner(admin: Kubectl) -> None:
    admin("create", "configmap", "owner")
    uid = admin("get", "configmap", "owner", "-o", "jsonpath={.metadata.uid}")
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}
    metadata = {"name": "owned", "ownerReferences": [reference]}
    admin("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}))
    admin("delete", "configmap", "owner")
    admin("wait", "--for=delete", "configmap/owned", "--timeout=25s")


def test_a_user_is_whom_a_client_certificate_names(
    own: Cluster, admin: Kubectl, programs: Binaries, tmp_path: Path
) -> None:
    path = people.certificate_user(own, tmp_path / "ada", "ada", ["readers", "writers"], namespace="kube-system")
    ada = Kubectl(programs.kubectl, path)
    told = json.loads(ada("auth", "whoami", "-o", "json"))["status"]["userInfo"]
    assert (told["username"], sorted(told["groups"])) == ("ada", ["readers", "system:authenticated", "writers"])
    assert "Forbidden" in ada.attempt("get", "configmaps").stderr
    people.may(admin, "kube-system", {"kind": "User", "name": "ada"}, ("get,list", "", "configmaps"))
    assert "extension-apiserver-authentication" in ada("get", "configmaps", "-o", "name")
    assert "Forbidden" in ada.attempt("get", "configmaps", "-n", "default").stderr


@pytest.mark.parametrize("authority", ["ca", "front-proxy-ca"])
def test_a_certificate_of_another_authority_is_nobodys(own: Cluster, authority: str) -> None:
    certificate, key = people.client_certificate(pki(own), authority, "admin", ["system:masters"])
    assert asked(own, certificate, key, {}).status_code == 401


def test_the_front_proxys_certificate_acts_for_others_and_a_users_does_not(own: Cluster) -> None:
    as_masters = {"X-Remote-User": "eve", "X-Remote-Group": "system:masters"}
    front_proxy = people.client_certificate(pki(own), "front-proxy-ca", "front-proxy-client")
    assert asked(own, *front_proxy, as_masters).status_code == 200
    other_name = people.client_certificate(pki(own), "front-proxy-ca", "somebody")
    assert asked(own, *other_name, as_masters).status_code == 401
    user = people.client_certificate(pki(own), "client-ca", "eve")
    assert asked(own, *user, as_masters).status_code == 403


def test_what_a_server_behind_an_apiservice_needs_is_published(own: Cluster, admin: Kubectl) -> None:
    told = json.loads(
        admin("-n", "kube-system", "get", "configmap", "extension-apiserver-authentication", "-o", "json")
    )["data"]
    published = told["requestheader-client-ca-file"].strip()
    assert published == (pki(own) / "front-proxy-ca.crt").read_text().strip()
    assert json.loads(told["requestheader-allowed-names"]) == ["front-proxy-client"]
    assert json.loads(told["requestheader-username-headers"]) == ["X-Remote-User"]
    assert json.loads(told["requestheader-group-headers"]) == ["X-Remote-Group"]


def pki(cluster: Cluster) -> Path:
    return cluster.kubeconfig.parent / "pki"


def asked(cluster: Cluster, certificate: bytes, key: bytes, headers: dict[str, str]) -> httpx.Response:
    """The answer to a list of namespaces, asked for with this client certificate."""
    config = yaml.safe_load(cluster.kubeconfig.read_bytes())
    context = ssl.create_default_context(cafile=str(pki(cluster) / "ca.crt"))
    with tempfile.NamedTemporaryFile() as pair:
        pair.write(certificate + key)
        pair.flush()
        context.load_cert_chain(pair.name)
    url = config["clusters"][0]["cluster"]["server"]
    with httpx.Client(verify=context, trust_env=False, timeout=20.0) as client:
        return client.get(f"{url}/api/v1/namespaces", headers=headers)


def test_strangers_get_in_nowhere(own: Cluster, programs: Binaries, tmp_path: Path) -> None:
    stranger = Kubectl(programs.kubectl, own.kubeconfig_for("guessed", tmp_path / "kubeconfig"))
    assert "You must be logged in" in stranger.attempt("get", "ns").stderr


@pytest.mark.parametrize("name", ORDER)
def test_what_was_killed_is_started_by_up(own: Cluster, admin: Kubectl, name: str) -> None:
    before = pids(own)
    kill(own, name)
    own.up()
    assert all(part.ready for part in own.parts())
    after = pids(own)
    assert after.pop(name) != before.pop(name)
    assert after == before
    admin("create", "namespace", f"after-{name}")
    # The controller manager creates this account, so all three parts work together again.
    admin("wait", "--for=create", "serviceaccount/default", "-n", f"after-{name}", "--timeout=25s")


def test_down_and_up_again_has_everything(own: Cluster, admin: Kubectl, notes: str) -> None:
    admin("apply", "-f", "-", stdin=note("kept", "for ever"))
    namespace = admin("get", "ns", "kube-system", "-o", "jsonpath={.metadata.uid}")
    kubeconfig = own.kubeconfig.read_bytes()
    own.down()
    assert [(part.pid, part.ready) for part in own.parts()] == [(None, False)] * 3
    assert admin.attempt("get", "ns").returncode == 1
    own.up()
    assert admin("get", notes, "kept", "-o", "jsonpath={.spec.text}") == "for ever"
    assert admin("get", "ns", "kube-system", "-o", "jsonpath={.metadata.uid}") == namespace
    assert own.kubeconfig.read_bytes() == kubeconfig


def test_all_killed_as_by_a_power_cut(own: Cluster, admin: Kubectl, notes: str) -> None:
    admin("apply", "-f", "-", stdin=note("written", "before"))
    for name in (ETCD, APISERVER, CONTROLLER_MANAGER):
        kill(own, name)
    own.up()
    assert admin("get", notes, "written", "-o", "jsonpath={.spec.text}") == "before"
