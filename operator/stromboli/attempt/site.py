"""Where this operator keeps its files on the node, and for which cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stromboli import naming
from stromboli.attempt.folder import SessionFolder
from stromboli.naming import ContainerKey
from stromboli.plan import ownership


@dataclass(frozen=True, slots=True)
class Site:
    """`home` is on disk, `runtime_dir` on a tmpfs; `installation` is the UID of the cluster's kube-system."""

    home: Path
    runtime_dir: Path
    installation: str

    def folder(self, uid: str) -> SessionFolder:
        """A session's files on disk and on tmpfs."""
        return SessionFolder(self.home, self.runtime_dir, uid)

    def owner_labels(self, uid: str) -> dict[str, str]:
        """The labels that name an object's owner; see plan/ownership.py for what they prove."""
        return {naming.INSTALLATION: self.installation, naming.OWNER: uid}

    def key_of(self, name: str, labels: Mapping[str, str]) -> ContainerKey | None:
        """The session and role of a container with this name and these labels; None if it is not ours."""
        return ownership.container_key(name, labels, self.installation)

    def owns_volume(self, uid: str, name: str, labels: Mapping[str, str]) -> bool:
        """Whether a volume with this name and these labels is this session's."""
        return ownership.session_of_volume(name, labels, self.installation) == uid

    def labels(self, key: ContainerKey, display_name: str) -> dict[str, str]:
        """All labels of a container, and of the objects that are created for it: a volume, a copy of its files.

        `display_name` is namespace/name of the session or run.
        """
        return {**self.owner_labels(key.session), naming.RUN: display_name, naming.ROLE: key.role}
