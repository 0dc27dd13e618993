"""What the operator knows of a session that outlives its runs, in one file of its folder.

It is tied to the container by its id: what is known of one container says nothing of the next. Written whole, by
rename, and synced: a crash leaves the old or the new.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from stromboli import bounds
from stromboli.errors import LocalFailure


@dataclass(frozen=True, slots=True)
class State:
    """One session's.

    `container` is the id of the container in which the hooks of its beginning have succeeded, `hooks` their hash,
    `at` when that was known. `begun` says that a conversation may lie on its volume. `copy` is the id of the image
    that a fork's filesystem was copied to (empty: its parent had none), None until the copy is whole, and
    `copy_hooks` the hash of the hooks that had succeeded in it. `spent` is what the CLI counted up to the attempt
    `spent_by`, `spent_before` what it had counted before that, in US dollars.
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


_FIELDS = {field.name for field in fields(State)}


def read(path: Path) -> State:
    """The state in a file; an empty one where there is none.

    Raises OSError for one that cannot be read, LocalFailure for one that is broken: taken for empty, a fork would be
    copied over its own conversation, and a lost volume go unnoticed.
    """
    try:
        found = bounds.json_document(path.read_bytes(), bounds.DOCUMENT)
    except FileNotFoundError:
        return State()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise LocalFailure(
            f"{path} is not what the operator wrote there",
            "restore it, or delete the AgentSession whose UID is the folder's name",
        )
    return State(**{key: value for key, value in found.items() if key in _FIELDS})


def write(path: Path, state: State) -> None:
    """Replace a file, durably."""
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
