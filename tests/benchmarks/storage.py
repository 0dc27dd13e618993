"""Disk usage by du(1): allocated blocks, on one file system only, so that mounts are not counted."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.benchmarks.bed import Bed

SECONDS = 60.0


def taken(*folders: Path) -> int:
    """Total bytes of the folders; hard-linked files are counted once."""
    command = ["du", "--summarize", "--total", "--one-file-system", "--block-size=1", *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"du → {done.returncode}: {done.stderr[-500:]}")
    return int(done.stdout.splitlines()[-1].split()[0])


def of_podman(bed: Bed) -> int:
    """Bytes of Podman's layers, their metadata and volumes, after clean-ups have finished."""
    bed.quiet()
    return taken(bed.podman.root / "graph", bed.podman.root / "volumes")


def mb(size: float) -> str:
    """Bytes formatted as MB (10⁶ bytes)."""
    return f"{size / 1e6:.1f} MB"
