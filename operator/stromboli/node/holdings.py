"""Which images go with their AgentImages: one small file for each object with `deletionPolicy: Delete`.

The objects have no finalizer, so a deletion may happen while no operator is running. The file is what the next one
finds.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from stromboli import bounds, files

FOLDER = "holdings"  # in the operator's home


@dataclass(frozen=True, slots=True)
class Holding:
    """The image that goes with an AgentImage: its full reference and its id, and the object's `namespace/name`."""

    reference: str
    id: str
    label: str


class Holdings:
    """The files of this node, by the UID of the object. A file that cannot be read counts as absent."""

    def __init__(self, home: Path) -> None:
        self._folder = home / FOLDER
        self._known: dict[str, Holding] = {}

    def keep(self, uid: str, holding: Holding) -> None:
        """Record an image, durably. Raises OSError."""
        if self._known.get(uid) != holding:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            files.write_private(self._path(uid), json.dumps(asdict(holding)).encode())
            self._known[uid] = holding

    def forget(self, uid: str) -> None:
        """The image stays on the node, or has been removed. Raises OSError."""
        self._path(uid).unlink(missing_ok=True)
        self._known.pop(uid, None)

    def find(self, uid: str) -> Holding | None:
        """What was recorded for that object."""
        try:
            found = bounds.json_document(self._path(uid).read_text(encoding="utf-8"), bounds.DOCUMENT)
            return Holding(**found)
        except (OSError, ValueError, TypeError):
            return None

    def uids(self) -> set[str]:
        """All objects that have a record."""
        try:
            return {path.name for path in self._folder.iterdir()}
        except OSError:
            return set()

    def _path(self, uid: str) -> Path:
        return self._folder / uid
