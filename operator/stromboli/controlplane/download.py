"""Downloads the official releases of Kubernetes and etcd and verifies their checksums.

The checksums are fetched first, from both hosts: they are small, so a machine without internet access fails within
seconds, and no large file is downloaded if one of the hosts cannot be reached. Layout of the two hosts:
https://kubernetes.io/docs/tasks/tools/install-kubectl-linux/ and etcd's release notes on GitHub.
"""

from __future__ import annotations

import hashlib
import queue
import re
import shutil
import tarfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx

from stromboli.controlplane import versions
from stromboli.errors import LocalFailure
from stromboli.progress import Progress, Step

_TIMEOUT = httpx.Timeout(30.0, connect=3.0)
# DNS resolution ignores the client's timeouts, so the first request to a host is bounded from outside.
_FIRST_CONTACT = 8.0


@dataclass(frozen=True, slots=True)
class Sources:
    """Base URLs of the two publishers."""

    kubernetes: str
    etcd: str


OFFICIAL = Sources("https://dl.k8s.io", "https://github.com/etcd-io/etcd/releases/download")


def release(target: Path, arch: str, sources: Sources, progress: Progress) -> None:
    """Download all four programs into the folder `target`.

    Raises LocalFailure if a publisher cannot be reached or does not have the release, or if a checksum does not match.
    """
    with httpx.Client(timeout=_TIMEOUT, follow_redirects=True, headers={"Accept-Encoding": "identity"}) as client:
        progress.line(f"control plane: asking {sources.kubernetes} for Kubernetes {versions.KUBERNETES}")
        files = [_Remote.of(client, *where) for where in _places(arch, sources)]
        for file in files:
            with progress.step(f"downloading {file.name}") as step:
                _fetch(client, file, target / file.name, step)
    _unpack_etcd(target, arch)
    for program in versions.PROGRAMS:
        (target / program).chmod(0o755)


def _places(arch: str, sources: Sources) -> list[tuple[str, str]]:
    """(URL of the file, URL of its checksum) for every file to download."""
    kubernetes = f"{sources.kubernetes}/v{versions.KUBERNETES}/bin/linux/{arch}"
    etcd = f"{sources.etcd}/v{versions.ETCD}"
    programs = [f"{kubernetes}/{name}" for name in versions.PROGRAMS if name != "etcd"]
    places = [(url, f"{url}.sha256") for url in programs]
    places.insert(1, (f"{etcd}/{_archive(arch)}", f"{etcd}/SHA256SUMS"))
    return places


def _archive(arch: str) -> str:
    return f"etcd-v{versions.ETCD}-linux-{arch}.tar.gz"


@dataclass(frozen=True, slots=True)
class _Remote:
    """A published file, with the SHA-256 (hex) that its publisher states for it."""

    url: str
    sha256: str

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    @classmethod
    def of(cls, client: httpx.Client, url: str, checksum_url: str) -> _Remote:
        name = url.rpartition("/")[2]
        text = _bounded(lambda: _text(client, checksum_url), _FIRST_CONTACT, checksum_url)
        for line in text.splitlines():
            words = line.split()
            if words and re.fullmatch(r"[0-9a-f]{64}", words[0]) and words[1:] in ([], [name], [f"*{name}"]):
                return cls(url, words[0])
        raise LocalFailure(f"{checksum_url} states no SHA-256 for {name}")


def _text(client: httpx.Client, url: str) -> str:
    try:
        return client.get(url).raise_for_status().text
    except httpx.HTTPError as e:
        raise _unreachable(url, e) from e


def _unreachable(url: str, error: httpx.HTTPError) -> LocalFailure:
    if isinstance(error, httpx.HTTPStatusError):
        return LocalFailure(f"{url} answers {error.response.status_code}")
    return LocalFailure(f"{url} cannot be reached ({str(error) or type(error).__name__})")


def _bounded(call: Callable[[], str], seconds: float, url: str) -> str:
    """`call()`; raises LocalFailure after `seconds`. The thread of a call that timed out is left to end by itself."""
    answers: queue.SimpleQueue[str | LocalFailure] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put(call())
        except LocalFailure as e:
            answers.put(e)

    threading.Thread(target=run, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise LocalFailure(f"{url} cannot be reached (no answer in {seconds:.0f} s)") from None
    if isinstance(answer, LocalFailure):
        raise answer
    return answer


def _fetch(client: httpx.Client, file: _Remote, target: Path, step: Step) -> None:
    digest = hashlib.sha256()
    try:
        with client.stream("GET", file.url) as response, target.open("xb") as out:
            response.raise_for_status()
            total = int(response.headers.get("Content-Length", 0))
            for chunk in response.iter_bytes():
                out.write(chunk)
                digest.update(chunk)
                step.done(out.tell(), total)
    except httpx.HTTPError as e:
        raise _unreachable(file.url, e) from e
    if digest.hexdigest() != file.sha256:
        target.unlink()
        raise LocalFailure(
            f"{file.url} is rejected: its SHA-256 is {digest.hexdigest()}, its publisher states {file.sha256}"
        )
    step.note("checksum verified")


def _unpack_etcd(target: Path, arch: str) -> None:
    """Extract the one program needed from the archive, and delete the archive."""
    archive = target / _archive(arch)
    member = f"{archive.name.removesuffix('.tar.gz')}/etcd"
    try:
        with tarfile.open(archive) as tar:
            source = tar.extractfile(member)
            if source is None:
                raise LocalFailure(f"{archive.name}: {member} is not a regular file")
            with source, (target / "etcd").open("xb") as out:
                shutil.copyfileobj(source, out)
    except (KeyError, tarfile.TarError) as e:
        raise LocalFailure(f"{archive.name} does not contain {member} ({e})") from e
    archive.unlink()
