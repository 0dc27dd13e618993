"""Begins a Podman's storage with the large images in it, as hard links to a store in the cache.

To load them takes 8 s of CPU time, to link them a tenth of a second. It is for root's Podman only: the files of a
user's belong to subordinate IDs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from stromboli.controlplane import lock
from tests.support import images
from tests.support.podman import IsolatedPodman

LARGE = ("cli", "glibc")
# What says where the store is, or is mounted: Podman makes it anew.
_OF_ITS_PLACE = ("libpod", "mounts", "tmp")


def begin(graph: Path) -> bool:
    """Put the large images into a storage that does not exist yet. False if they were never built: then load them."""
    archives = [images._saved(name, images.RECIPES[name], os.environ) for name in LARGE]
    if os.geteuid() != 0 or not all(archive.exists() for archive in archives):
        return False
    key = hashlib.sha256("".join(map(str, archives)).encode()).hexdigest()[:16]
    folder = images.cache_folder(os.environ) / "stores"
    folder.mkdir(exist_ok=True)
    with lock.exclusive(folder / "lock", "is preparing a store of test images", images._progress()):
        store = folder / key
        if not store.exists():
            _prepare(store)
        _copy(store, graph)
    return True


def _copy(store: Path, graph: Path) -> None:
    """Layers are never written to. Everything else is, and so are the lock files: a lock is the inode's."""
    graph.mkdir(mode=0o700, parents=True)
    same_disk = store.stat().st_dev == graph.stat().st_dev
    for part in store.iterdir():
        options = ["--link"] if same_disk and part.name == "overlay" else []
        subprocess.run(["cp", "--archive", *options, part, graph], check=True, capture_output=True)


def _prepare(store: Path) -> None:
    for old in store.parent.iterdir():
        if old.is_dir():
            shutil.rmtree(old)
    with tempfile.TemporaryDirectory(dir=store.parent) as folder, IsolatedPodman() as podman:
        for name in LARGE:
            images.build(name, podman.env)
        podman.kill_service(signal.SIGTERM)
        whole = Path(folder) / "store"
        whole.mkdir()
        for part in (podman.root / "graph").iterdir():
            if part.name not in _OF_ITS_PLACE:
                subprocess.run(["cp", "--archive", part, whole], check=True, capture_output=True)
        whole.replace(store)
