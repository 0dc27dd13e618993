"""Where the control plane's programs come from, in this order:

    1. the folder in KUBEBUILDER_ASSETS     as envtest has it, plus kube-controller-manager
    2. a copy in the cache                  named after its versions, complete or not there at all
    3. the official release                 by checksum               (download.py)
    4. the Go modules                       where a Go toolchain is   (build.py)

What 3 or 4 bring is put into the cache once, by a rename, under a lock. Here is the order and the cache;
how a download or a build is done is not.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stromboli.controlplane import build, download, lock, scratch, versions
from stromboli.controlplane.progress import Report
from stromboli.errors import LocalFailure

ASSETS = "KUBEBUILDER_ASSETS"


@dataclass(frozen=True, slots=True)
class Binaries:
    """A complete set of programs in one folder; `origin` says where it was found, for display."""

    folder: Path
    origin: str

    @property
    def etcd(self) -> Path:
        return self.folder / "etcd"

    @property
    def apiserver(self) -> Path:
        return self.folder / "kube-apiserver"

    @property
    def controller_manager(self) -> Path:
        return self.folder / "kube-controller-manager"

    @property
    def kubectl(self) -> Path:
        return self.folder / "kubectl"


def cache_folder(environ: Mapping[str, str]) -> Path:
    """`stromboli` in the XDG cache folder."""
    base = environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME") or "/") / ".cache"
    return Path(base) / "stromboli"


def locate(cache: Path, environ: Mapping[str, str]) -> Binaries | None:
    """The programs if they are on this machine already; fetches nothing, takes no time."""
    if (assets := _assets(environ)) and not lacking(assets):
        return Binaries(assets.absolute(), ASSETS)
    folder = cache / versions.folder_name(versions.architecture())
    return None if lacking(folder) else Binaries(folder.absolute(), "cache")


def find(
    cache: Path,
    report: Report,
    environ: Mapping[str, str],
    sources: download.Sources = download.OFFICIAL,
) -> Binaries:
    """The programs, fetched if need be: seconds for a download, about 8 minutes for a build on 2 cores.

    Raises LocalFailure naming every way that was tried and why it led nowhere.
    """
    arch = versions.architecture()
    scratch.clear(cache)
    if found := locate(cache, environ):
        return found
    tried = [_complaint_about_assets(environ, report)]
    ways: list[tuple[str, _Fetch]] = [
        ("official release", lambda to, _: download.release(to, arch, sources, report)),
        ("build from the Go modules", lambda to, folder: build.build(to, folder, arch, environ, report)),
    ]
    try:
        with lock.exclusive(cache / "controlplane.lock", "is fetching the control plane", report):
            if found := locate(cache, environ):
                return found
            return _first_that_works(ways, cache, tried, report)
    except OSError as e:
        raise LocalFailure(
            f"the control plane cannot be put into {cache}: {e.strerror}",
            "make room or make it writable, or choose another place with XDG_CACHE_HOME",
        ) from e


def lacking(folder: Path) -> list[str]:
    """The programs that `folder` lacks, or that cannot be run."""
    return [name for name in versions.PROGRAMS if not os.access(folder / name, os.X_OK)]


_Fetch = Callable[[Path, Path], None]


def _assets(environ: Mapping[str, str]) -> Path | None:
    return Path(environ[ASSETS]) if environ.get(ASSETS) else None


def _complaint_about_assets(environ: Mapping[str, str], report: Report) -> str:
    """A controller manager must not be newer than its API server, so a partial set is not filled up."""
    assets = _assets(environ)
    if assets is None:
        return f"{ASSETS}: is not set"
    complaint = f"{ASSETS}: {assets} has no {', '.join(lacking(assets))}"
    report(f"{complaint}; not used")
    return complaint


def _first_that_works(ways: list[tuple[str, _Fetch]], cache: Path, tried: list[str], report: Report) -> Binaries:
    final = cache / versions.folder_name(versions.architecture())
    tried.append(f"cache: nothing complete at {final}")
    for name, fetch in ways:
        try:
            _install(fetch, cache, final)
        except LocalFailure as e:
            report(f"{name}: {e}")
            tried.append(f"{name}: {e}")
        else:
            return Binaries(final.absolute(), name)
    raise LocalFailure(
        "there is no way to get a control plane\n" + "\n".join(f"  - {way}" for way in tried),
        "let this machine reach dl.k8s.io and github.com, "
        f"or install Go {'.'.join(map(str, versions.GO))} or newer, "
        f"or put {', '.join(versions.PROGRAMS)} into a folder and name it in {ASSETS}",
    )


def _install(fetch: _Fetch, cache: Path, final: Path) -> None:
    """Fetch into a folder beside `final`, then rename: what is at `final` is complete."""
    with scratch.folder(cache) as folder:
        (folder / "bin").mkdir()
        fetch(folder / "bin", folder)
        if missing := lacking(folder / "bin"):
            raise LocalFailure(f"brought no {', '.join(missing)}")
        if final.exists():
            shutil.rmtree(final)
        (folder / "bin").rename(final)
