"""Which cluster, as whom, in which namespace: as kubectl reads its files."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from stromboli.controlplane.cluster import Cluster
from stromboli.errors import LocalFailure
from stromboli.kube import kubeconfig
from stromboli.kube.kubeconfig import Place
from stromboli.local.home import Home


def written(path: Path, *, current: str = "x", **changes: Any) -> Path:
    """A kubeconfig with one entry of each kind; `cluster`, `user` and `context` add to them."""
    document = {
        "clusters": [{"name": "c", "cluster": {"server": "https://one:6443", **changes.get("cluster", {})}}],
        "users": [{"name": "u", "user": changes.get("user", {})}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", **changes.get("context", {})}}],
        "current-context": current,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document))
    return path


def of(path: Path, **changes: Any) -> Place:
    return kubeconfig.read([written(path, **changes)])


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_what_can_be_said_of_a_cluster_and_a_user(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("authority")
    found = of(
        tmp_path / "config",
        cluster={
            "certificate-authority": "ca",
            "insecure-skip-tls-verify": True,
            "tls-server-name": "other",
            "proxy-url": "socks5://p:1",
        },
        user={
            "client-certificate-data": encoded("certificate"),
            "client-key-data": encoded("key"),
            "token": "t",
            "tokenFile": "token",
            "username": "a",
            "password": "b",
            "as": "admin",
            "as-uid": "1",
            "as-groups": ["g", "h"],
            "as-user-extra": {"example.com/scope": ["s"]},
        },
        context={"namespace": "ns"},
    )
    assert (found.server, found.namespace, found.context) == ("https://one:6443", "ns", "x")
    assert (found.authority, found.insecure, found.server_name) == (b"authority", True, "other")
    assert (found.proxy, found.certificate, found.key) == ("socks5://p:1", b"certificate", b"key")
    assert (found.token, found.token_file) == ("t", tmp_path / "token")
    assert (found.username, found.password) == ("a", "b")
    assert list(found.as_whom) == [
        ("Impersonate-User", "admin"),
        ("Impersonate-Uid", "1"),
        ("Impersonate-Group", "g"),
        ("Impersonate-Group", "h"),
        ("Impersonate-Extra-example.com%2Fscope", "s"),
    ]


def test_a_program(tmp_path: Path) -> None:
    entry = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "./bin/login",
        "args": ["a", 1],
        "env": [{"name": "A", "value": "1"}],
        "interactiveMode": "Never",
        "provideClusterInfo": True,
        "installHint": "install it",
    }
    program = of(tmp_path / "config", user={"exec": entry}).program
    assert program is not None
    assert program.command == (str(tmp_path / "bin/login"), "a", "1")
    assert (program.env, program.interactive, program.gets_cluster) == ({"A": "1"}, "Never", True)
    assert (program.hint, program.api_version) == ("install it", "client.authentication.k8s.io/v1")
    on_path = of(tmp_path / "config", user={"exec": {"command": "login", "env": None}}).program
    assert on_path is not None
    assert (on_path.command, on_path.interactive) == (("login",), "IfAvailable")


def test_the_first_of_several_files_counts_and_each_has_its_own_folder(tmp_path: Path) -> None:
    for name in ("a", "b"):
        written(tmp_path / name / "config", user={"tokenFile": "token"}, current="" if name == "a" else "x")
    second = yaml.safe_load((tmp_path / "b/config").read_text())
    second["contexts"].append({"name": "y", "context": {"cluster": "only-here", "user": "mine"}})
    second["clusters"].append({"name": "only-here", "cluster": {"server": "two"}})
    second["users"].append({"name": "mine", "user": {"tokenFile": "token"}})
    (tmp_path / "b/config").write_text(yaml.safe_dump(second))
    files = [tmp_path / "a/config", tmp_path / "missing", tmp_path / "b/config"]
    assert kubeconfig.read(files).token_file == tmp_path / "a/token"
    other = kubeconfig.read(files, "y")
    assert (other.server, other.token_file) == ("https://two", tmp_path / "b/token")


def test_where_it_is_looked_for(tmp_path: Path) -> None:
    home, local, account = tmp_path / "home", tmp_path / "local", tmp_path / "account"
    environ = {"HOME": str(home)}

    def server(**more: Any) -> str:
        return kubeconfig.find(
            environ | more.pop("environ", {}), local=lambda: local if local.exists() else None, account=account, **more
        ).server

    with pytest.raises(LocalFailure, match=r"(?s)no kubeconfig says which cluster.*stromboli up"):
        server()
    account.mkdir()
    for name, text in (("token", "t"), ("ca.crt", "c"), ("namespace", "pod-ns\n")):
        (account / name).write_text(text)
    in_pod = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    assert server(environ=in_pod) == "https://[fd00::1]:443"
    found = kubeconfig.find(environ | in_pod, account=account)
    assert (found.namespace, found.authority, found.token_file) == ("pod-ns", b"c", account / "token")
    written(local, cluster={"server": "https://local"})
    assert server(environ=in_pod) == "https://local"
    written(home / ".kube/config", cluster={"server": "https://usual"})
    assert server(environ=in_pod) == "https://usual"
    written(tmp_path / "named", cluster={"server": "https://named"})
    assert server(environ={"KUBECONFIG": str(tmp_path / "named")}) == "https://named"
    assert server(environ={"KUBECONFIG": str(tmp_path / "named")}, path=home / ".kube/config") == "https://usual"


def test_the_installation_has_it_where_the_control_plane_writes_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert home.kubeconfig == Cluster(home.controlplane).kubeconfig


@pytest.mark.parametrize(
    "content", [b"", b"text", b"a: [", b"[]", b"\xff\xfe\x00", b"clusters: []\ncontexts: []\ncurrent-context: x"]
)
def test_what_is_no_kubeconfig(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config").write_bytes(content)
    with pytest.raises(LocalFailure, match=str(tmp_path)):
        kubeconfig.read([tmp_path / "config"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"current": ""}, "names no current context"),
        ({"current": "z"}, "no context 'z'"),
        ({"context": {"cluster": "z"}}, "no cluster 'z'"),
        ({"context": {"user": "z"}}, "no user 'z'"),
        ({"cluster": {"server": ""}}, "has no server"),
        ({"cluster": {"server": ["x"]}}, "server is not a string"),
        ({"cluster": {"certificate-authority": "none"}}, "none cannot be read: No such file"),
        ({"cluster": {"certificate-authority": "a\0b"}}, "cannot be read: embedded null byte"),
        ({"user": {"client-key-data": "%"}}, "client-key-data is not base64"),
        ({"user": {"auth-provider": {"name": "gcp"}}}, "auth-provider is not supported"),
        ({"user": {"exec": {"args": []}}}, "exec has no command"),
        ({"user": {"exec": {"command": "x", "args": "y"}}}, "args and env of exec are lists"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(LocalFailure, match=said):
        of(tmp_path / "config", **changes)


def test_groups_that_are_no_list_are_none(tmp_path: Path) -> None:
    assert of(tmp_path / "config", user={"as": "a", "as-groups": 5}).as_whom == (("Impersonate-User", "a"),)


def test_a_context_without_a_user(tmp_path: Path) -> None:
    assert of(tmp_path / "config", context={"user": ""}).token == ""


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(LocalFailure, match="cannot be read"):
        kubeconfig.read([tmp_path / name])


def test_nothing_of_it_is_shown(tmp_path: Path) -> None:
    assert "s3cret" not in repr(of(tmp_path / "config", user={"token": "s3cret", "password": "s3cret"}))
