"""Where this operator keeps its things on the node, and for which cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Site:
    """`home` is on disk, `runtime_dir` on a tmpfs; `installation` is the UID of the cluster's kube-system."""

    home: Path
    runtime_dir: Path
    installation: str
