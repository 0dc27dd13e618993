"""Finds the control plane's programs. The sources, in order:

    1. the folder in KUBEBUILDER_ASSETS     as used by envtest, plus kube-controller-manager
    2. the cache                            a folder named after the versions, complete or absent
    3. the official release                 verified by checksum        (download.py)
    4. the Go modules                       needs a Go toolchain        (build.py)

The result of 3 or 4 is moved into the cache by a rename, under a lock. This module has the order and the cache, not how
a download or a build is done.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stromboli.controlplane import build, download, lock, scratch, versions
from stromboli.errors import LocalFailure
from stromboli.progress import Progress

ASSETS = "KUBEBUILDER_ASSETS"


@dataclass(frozen=True, slots=True)
class Binaries:
    """A complete set of programs in one folder; `origin` is a display name of the source."""

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
    """The programs if they are already on this machine, else None. Fetches nothing."""
    if (assets := _assets(environ)) and not lacking(assets):
        return Binaries(assets.absolute(), ASSETS)
    folder = cache / versions.folder_name(versions.architecture())
    return None if lacking(folder) else Binaries(folder.absolute(), "cache")


def find(
    cache: Path,
    progress: Progress,
    environ: Mapping[str, str],
    sources: download.Sources = download.OFFICIAL,
) -> Binaries:
    """The programs, fetched if necessary: seconds for a download, about 8 minutes for a build on 2 cores.

    Raises LocalFailure with every source that was tried and why it failed.
    """
    arch = versions.architecture()
    scratch.clear(cache)
    if found := locate(cache, environ):
        return found
    tried = [_why_not_assets(environ, progress)]
    ways: list[tuple[str, _Fetch]] = [
        ("official release", lambda to, _: download.release(to, arch, sources, progress)),
        ("build from the Go modules", lambda to, folder: build.build(to, folder, arch, environ, progress)),
    ]
    try:
        with lock.exclusive(cache / "controlplane.lock", "is fetching the control plane", progress):
            if found := locate(cache, environ):
                return found
            return _first_that_works(ways, cache, tried, progress)
    except OSError as e:
        raise LocalFailure(
            f"the control plane cannot be put into {cache}: {e.strerror}",
            "free some space, make it writable, or choose another cache folder with XDG_CACHE_HOME",
        ) from e


def lacking(folder: Path) -> list[str]:
    """The programs that are missing from `folder` or not executable."""
    return [name for name in versions.PROGRAMS if not os.access(folder / name, os.X_OK)]


_Fetch = Callable[[Path, Path], None]


def _assets(environ: Mapping[str, str]) -> Path | None:
    return Path(environ[ASSETS]) if environ.get(ASSETS) else None


def _why_not_assets(environ: Mapping[str, str], progress: Progress) -> str:
    """Why KUBEBUILDER_ASSETS is not used. A partial set is not completed from elsewhere, because a controller manager
    must not be newer than its API server.
    """
    assets = _assets(environ)
    if assets is None:
        return f"{ASSETS}: is not set"
    why = f"{ASSETS}: {assets} has no {', '.join(lacking(assets))}"
    progress.line(f"{why}; not used")
    return why


def _first_that_works(ways: list[tuple[str, _Fetch]], cache: Path, tried: list[str], progress: Progress) -> Binaries:
    final = cache / versions.folder_name(versions.architecture())
    tried.append(f"cache: no complete set at {final}")
    for name, fetch in ways:
        try:
            _install(fetch, cache, final)
        except LocalFailure as e:
            progress.line(f"{name}: {e}")
            tried.append(f"{name}: {e}")
        else:
            return Binaries(final.absolute(), name)
    raise LocalFailure(
        "the control plane's programs cannot be obtained\n" + "\n".join(f"  - {way}" for way in tried),
        "give this machine access to dl.k8s.io and github.com, "
        f"or install Go {'.'.join(map(str, versions.GO))} or newer, "
        f"or put {', '.join(versions.PROGRAMS)} into a folder and set {ASSETS} to it",
    )


def _install(fetch: _Fetch, cache: Path, final: Path) -> None:
    """Fetch into a scratch folder beside `final`, then rename, so that `final` is always complete."""
    with scratch.folder(cache) as folder:
        (folder / "bin").mkdir()
        fetch(folder / "bin", folder)
        if missing := lacking(folder / "bin"):
            raise LocalFailure(f"did not provide {', '.join(missing)}")
        if final.exists():
            shutil.rmtree(final)
        (folder / "bin").rename(final)
