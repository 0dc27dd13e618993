"""What lies on disk, by du(1): blocks that are really taken, of one file system only, so that no mount counts."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.benchmarks.bed import Bed

SECONDS = 60.0


def taken(*folders: Path) -> int:
    """Bytes that folders take together, what is linked more than once counted once."""
    command = ["du", "--summarize", "--total", "--one-file-system", "--block-size=1", *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"du → {done.returncode}: {done.stderr[-500:]}")
    return int(done.stdout.splitlines()[-1].split()[0])


def of_podman(bed: Bed) -> int:
    """All that Podman keeps: layers, what it notes of them, and volumes; once nothing is at work there."""
    bed.quiet()
    return taken(bed.podman.root / "graph", bed.podman.root / "volumes")


def mb(size: float) -> str:
    """Bytes as MB (of 10⁶), for the eye."""
    return f"{size / 1e6:.1f} MB"
