"""What the operator knows of a session beyond its runs, in one file of the session's folder.

What concerns a container is tied to that container's id, and does not apply to the next one. The file is replaced by
rename and synced: a crash leaves the old state or the new one.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from stromboli import bounds
from stromboli.errors import LocalFailure


@dataclass(frozen=True, slots=True)
class SessionState:
    """The state of one session.

    `container` is the id of the container in which the session's initial hooks succeeded, `hooks` their hash, and
    `at` when the operator learned of it. `begun` means that there may be a conversation on the session's volume.
    `copy` is the id of the image that a fork's filesystem was copied to (empty if its parent had none), None until the
    copy is complete; `copy_hooks` is the hash of the hooks that had succeeded in it. `spent` is the CLI's running
    total up to the attempt `spent_by`, `spent_before` the total before that attempt, both in US dollars.
    """

    container: str | None = None
    hooks: str | None = None
    at: str | None = None
    begun: bool = False
    copy: str | None = None
    copy_hooks: str | None = None
    spent: float = 0.0
    spent_before: float = 0.0
    spent_by: str | None = None


_STATE = TypeAdapter(SessionState)  # ignores what a newer operator wrote besides


def read(path: Path) -> SessionState:
    """The state in a file; an empty one if there is no file.

    Raises OSError if the file cannot be read, and LocalFailure if it is broken: if that counted as empty, a fork would
    be copied over its own conversation, and a lost volume would go unnoticed.
    """
    try:
        return _STATE.validate_python(bounds.json_document(path.read_bytes(), bounds.DOCUMENT))
    except FileNotFoundError:
        return SessionState()
    except ValueError as e:
        raise LocalFailure(
            f"{path} is damaged: the operator did not write this",
            "restore it, or delete the AgentSession whose UID is the folder's name",
        ) from e


def write(path: Path, state: SessionState) -> None:
    """Replace the file atomically, and sync it to disk."""
    new = path.with_name(f".{path.name}.new")
    with new.open("w", encoding="utf-8") as file:
        json.dump(asdict(state), file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
