"""The token in a kubeconfig, of whatever kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from stromboli.errors import LocalFailure
from stromboli.kube.bearer import bearer


def kubeconfig(folder: Path, user: dict[str, Any] | None, **context: str) -> Path:
    document = {
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:9"}}],
        "users": [{"name": "u", "user": user}] if user is not None else [],
        "contexts": [
            {"name": "x", "context": {"cluster": "c", **({"user": "u"} if user is not None else {}), **context}}
        ],
        "current-context": "x",
    }
    path = folder / "config"
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_token(tmp_path: Path) -> None:
    token, namespace = bearer(kubeconfig(tmp_path, {"token": "t1"}, namespace="ns"))
    assert (token(), namespace) == ("t1", "ns")


def test_a_token_in_a_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t2\n")
    token, namespace = bearer(kubeconfig(tmp_path, {"tokenFile": "token", "token": "old"}))
    assert (token(), namespace) == ("t2", "default")


def test_a_token_of_a_program(tmp_path: Path) -> None:
    credential = json.dumps({"status": {"token": "t3"}})
    program = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": "/bin/echo",
        "args": [credential],
    }
    token, _ = bearer(kubeconfig(tmp_path, {"exec": program}))
    assert token() == "t3"


@pytest.mark.parametrize(
    "user",
    [None, {}, {"client-certificate-data": "eA==", "client-key-data": "eA=="}, {"username": "a", "password": "b"}],
)
def test_who_has_no_token_is_told_how_to_get_one(tmp_path: Path, user: dict[str, Any] | None) -> None:
    with pytest.raises(LocalFailure, match=r"(?s)context x has no token.*kubectl create token"):
        bearer(kubeconfig(tmp_path, user))


@pytest.mark.parametrize(
    "content", [b"", b"text", b"a: [", b"[]", b"\xff\xfe\x00", b"clusters: []\ncontexts: []\ncurrent-context: x"]
)
def test_what_is_no_kubeconfig(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config").write_bytes(content)
    with pytest.raises(LocalFailure, match="set KUBECONFIG to the kubeconfig"):
        bearer(tmp_path / "config")


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_kubeconfig_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(LocalFailure, match="does not lead to a cluster"):
        bearer(tmp_path / name)
