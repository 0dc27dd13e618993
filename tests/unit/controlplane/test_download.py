"""Releases by checksum, from a publisher on loopback: the wrong is refused, the absent noticed fast."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stromboli.controlplane import download, versions
from stromboli.controlplane.download import Sources
from stromboli.errors import LocalFailure
from stromboli.progress import silent
from tests.support.release_publisher import Publisher, serving
from tests.support.told import Told


@pytest.fixture(params=["amd64", "arm64"])
def publisher(request: pytest.FixtureRequest) -> Publisher:
    return Publisher(request.param)


@pytest.fixture(autouse=True)
def _no_authority(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The publisher speaks plain HTTP; to load the machine's certificates for each test takes longer than the test."""
    monkeypatch.setenv("SSL_CERT_FILE", "")
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path_factory.getbasetemp()))


@pytest.fixture
def sources(publisher: Publisher) -> Iterator[Sources]:
    with serving(publisher) as sources:
        yield sources


def fetch(target: Path, publisher: Publisher, sources: Sources) -> list[str]:
    told = Told()
    download.release(target, publisher.kubernetes.rpartition("/")[2], sources, told)
    return told.done


def test_all_four_programs_and_nothing_else(tmp_path: Path, publisher: Publisher, sources: Sources) -> None:
    said = fetch(tmp_path, publisher, sources)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(versions.PROGRAMS)
    for name in versions.PROGRAMS:
        assert subprocess.run([tmp_path / name], capture_output=True, check=True).stdout.decode().strip() == name
    assert all(line.endswith(" (100 %), checksum verified") for line in said)
    assert [line.partition(":")[0] for line in said] == [
        "downloading kube-apiserver",
        f"downloading {publisher.archive.rpartition('/')[2]}",
        "downloading kube-controller-manager",
        "downloading kubectl",
    ]


def test_a_redirect_is_followed(tmp_path: Path, publisher: Publisher, sources: Sources) -> None:
    path = f"{publisher.kubernetes}/kubectl"
    publisher.files["/elsewhere"] = publisher.files.pop(path)
    publisher.moved[path] = "/elsewhere"
    fetch(tmp_path, publisher, sources)
    assert (tmp_path / "kubectl").read_bytes() == publisher.files["/elsewhere"]


@pytest.mark.parametrize("wrong", ["kube-apiserver", "kubectl", "etcd"])
def test_a_wrong_checksum_is_refused(tmp_path: Path, publisher: Publisher, sources: Sources, wrong: str) -> None:
    path = publisher.archive if wrong == "etcd" else f"{publisher.kubernetes}/{wrong}"
    publisher.files[path] += b"\n# evil"
    with pytest.raises(LocalFailure, match=r"is rejected: its SHA-256 is [0-9a-f]{64}, its publisher states"):
        fetch(tmp_path, publisher, sources)
    assert not (tmp_path / path.rpartition("/")[2]).exists()
    assert not (tmp_path / "etcd").exists()


@pytest.mark.parametrize("text", [b"", b"<html>sorry</html>", b"abc  etcd.tar.gz", b"0" * 64 + b"  etcd-other.tar.gz"])
def test_no_checksum_no_download(tmp_path: Path, publisher: Publisher, sources: Sources, text: bytes) -> None:
    publisher.files[publisher.sums] = text
    with pytest.raises(LocalFailure, match=r"SHA256SUMS states no SHA-256 for etcd-v.*\.tar\.gz"):
        fetch(tmp_path, publisher, sources)
    assert list(tmp_path.iterdir()) == []


def test_a_release_that_does_not_exist(tmp_path: Path, publisher: Publisher, sources: Sources) -> None:
    del publisher.files[publisher.sums]
    with pytest.raises(LocalFailure, match="SHA256SUMS answers 404"):
        fetch(tmp_path, publisher, sources)
    assert not any(path.endswith("kube-apiserver") for path in publisher.asked), "one half was downloaded for nothing"


def test_an_archive_without_etcd(tmp_path: Path, publisher: Publisher, sources: Sources) -> None:
    publisher.publish_etcd({"other/etcd": b"x"})
    with pytest.raises(LocalFailure, match=r"does not contain etcd-v.*/etcd"):
        fetch(tmp_path, publisher, sources)


def test_what_is_no_archive(tmp_path: Path, publisher: Publisher, sources: Sources) -> None:
    publisher.publish_etcd({})
    archive = tmp_path / "nothing"
    archive.write_bytes(publisher.files[publisher.archive])
    with pytest.raises(LocalFailure, match="does not contain"):
        fetch(tmp_path, publisher, sources)


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(LocalFailure, match=r"kube-apiserver\.sha256 cannot be reached"):
        download.release(tmp_path, "amd64", Sources(url, url), silent())


def test_somebody_listens_and_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_FIRST_CONTACT", 0.2)
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(LocalFailure, match="no answer in"):
            download.release(tmp_path, "amd64", Sources(url, url), silent())
    assert time.monotonic() - began < 5
