"""The operator's own record of the secrets that an attempt was given, kept on tmpfs to redact them from its output.

Each attempt has a file in its session's folder there, which is mounted into no container. It survives a restart of the
operator, and changes to the Kubernetes Secret; when it is removed is up to folder.py. So has the session's stack: all
that its services were given.
"""

from __future__ import annotations

import json
from pathlib import Path

from stromboli import bounds
from stromboli.attempt import places
from stromboli.files import write_private
from stromboli.plan.redaction import UNKNOWN, Secrets

SERVICES = "services"  # in place of an attempt's name: what the services of the session's stack were given
INHERITED = "inherited"  # the same: what a fork's parent was given
_MOST = 4 * 1024 * 1024  # characters of other attempts' secrets that an attempt has to know as well


def write(folder: Path, attempt: str, secrets: Secrets) -> None:
    """Record the secrets of the attempt of that name."""
    content = json.dumps({"attempt": attempt, "values": secrets.values})
    write_private(folder / places.checked(attempt), content.encode())


def read(folder: Path, attempt: str) -> Secrets:
    """The secrets of the attempt of that name; UNKNOWN if there is no record."""
    match _document(folder if folder.is_file() else folder / places.checked(attempt)):
        case {"attempt": str(name), "values": list(values)} if name == attempt:
            return Secrets(value for value in values if isinstance(value, str))
    return UNKNOWN


def others(folder: Path, attempt: str) -> set[str]:
    """What the session's other attempts were given, the newest first, as far as it is still known, and not too much."""
    paths = [folder / name for name in places.names(folder) - {attempt, SERVICES}] if folder.is_dir() else []
    found: set[str] = set()
    for path in sorted(paths, key=_written, reverse=True):
        more = set(read(folder, path.name).values) - found
        if sum(map(len, found)) + sum(map(len, more)) > _MOST:
            break
        found |= more
    return found


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # its attempt was removed meanwhile
        return 0.0


def by_attempt(folder: Path) -> None:
    """Make a folder of what earlier versions kept in its place: a file with the secrets of one attempt."""
    if not folder.is_file():
        return
    found = _document(folder)
    old = folder.replace(folder.with_name(f".{folder.name}.old"))
    folder.mkdir(mode=0o700)
    match found:
        case {"attempt": str(name)} if places.is_name(name):
            old.replace(folder / name)
        case _:
            old.unlink()


def _document(path: Path) -> object:
    try:
        return bounds.json_document(path.read_bytes(), bounds.ANSWER)
    except (FileNotFoundError, ValueError):
        return None
