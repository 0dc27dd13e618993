"""The cache of downloads and builds that all installations of a user share: its size, and its removal."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from stromboli.controlplane import binaries, scratch


def purge(environ: Mapping[str, str], *, everything: bool) -> tuple[str, str]:
    """Remove the leftovers of interrupted downloads and builds, or `everything`; returns descriptions of what was
    removed and of what was kept.

    What another process is downloading is not touched.
    """
    folder = binaries.cache_folder(environ)
    if not folder.is_dir():
        return "", ""
    if not everything:
        size = scratch.clear(folder)
        return (f"the leftovers of an interrupted build ({_shown(size)})" if size else "", _described(folder))
    described = _described(folder)
    shutil.rmtree(folder)
    return described, ""


def _described(folder: Path) -> str:
    size = scratch.size(folder)
    return f"{folder} ({_shown(size)}: the control plane's programs, downloaded packages)" if size else ""


def _shown(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(1, round(size / 1e6))} MB"
