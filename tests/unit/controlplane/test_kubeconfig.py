"""The kubeconfig, and the private files that it is one of."""

from __future__ import annotations

import base64
from pathlib import Path

import yaml

from stromboli import files
from stromboli.controlplane import kubeconfig

SERVER = "https://127.0.0.1:1234"


def test_everything_is_embedded_and_private(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    kubeconfig.write(path, SERVER, b"PEM", "a: token", "ns")
    document = yaml.safe_load(path.read_text())
    assert path.stat().st_mode & 0o777 == 0o600
    assert document["clusters"][0]["cluster"]["server"] == SERVER
    assert base64.b64decode(document["clusters"][0]["cluster"]["certificate-authority-data"]) == b"PEM"
    assert document["users"][0]["user"] == {"token": "a: token"}
    context = {c["name"]: c["context"] for c in document["contexts"]}[document["current-context"]]
    assert context["namespace"] == "ns"
    assert context["user"] == document["users"][0]["name"]
    assert context["cluster"] == document["clusters"][0]["name"]


def test_the_same_again_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    kubeconfig.write(path, SERVER, b"PEM", "token")
    before = path.stat().st_ino
    kubeconfig.write(path, SERVER, b"PEM", "token")
    assert path.stat().st_ino == before
    kubeconfig.write(path, SERVER, b"PEM", "another")
    assert "another" in path.read_text()


def test_a_private_file_replaces_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("open")
    path.chmod(0o644)
    (tmp_path / ".file.new").write_text("left by a crash")
    files.write_private(path, b"closed")
    assert path.read_bytes() == b"closed"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_private_folder_that_was_open_is_closed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o755)
    assert files.private_folder(tmp_path / "a").stat().st_mode & 0o777 == 0o700
