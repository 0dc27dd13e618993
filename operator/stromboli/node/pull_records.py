"""The files that say how images came to the node: one for each image that was pulled with credentials, and one for each
such pull that has begun. Only reading and writing is here; what they mean for whom is in access.py.

They are in the operator's home, for the owner only. Of credentials there is nothing but a keyed hash, whose key is in
a file beside them. A file is on the disk before the call that writes it returns.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stromboli import bounds, files
from stromboli.errors import InvalidInput
from stromboli.grammar import reference as references
from stromboli.grammar.reference import Reference
from stromboli.registry_credentials import Credentials, parts

FOLDER = "access"  # in the operator's home
_KEY_SIZE = 32


@dataclass(frozen=True, slots=True)
class Opened:
    """Who was shown to have access to an image in one repository: everybody, or those with credentials of these hashes.
    `namespaces` are those that have used it so far.
    """

    everybody: bool = False
    credentials: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of one image, by repository (`ghcr.io/team/app`). `whole` is false if its file could not be read:
    then what is not in here is not known.
    """

    repositories: Mapping[str, Opened] = field(default_factory=dict)
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Begun:
    """A pull with credentials that has begun. `spared` is the id of an image that already had the name, and was open to
    everybody; empty if there was none.
    """

    reference: Reference
    spared: str = ""


class PullRecords:
    """The records of this node: `pulled` by image id, `begun` by reference. Read once, and kept in memory."""

    def __init__(self, home: Path) -> None:
        self._folder = home / FOLDER
        self._key: bytes | None = None
        self._one_key = threading.Lock()
        self.pulled: dict[str, Record] = {path.name: _record(path) for path in _content(self._folder / "pulled")}
        self.begun: dict[str, Begun] = {
            str(begun.reference): begun
            for path in _content(self._folder / "begun")
            if (begun := _begun(path)) is not None
        }

    def hash_of(self, credentials: Credentials) -> str:
        """What is written down of credentials. Raises OSError."""
        with self._one_key:  # this may be called in several threads
            key = self._the_key()
        return hmac.digest(key, json.dumps(parts(credentials)).encode(), hashlib.sha256).hex()

    def write(self, image_id: str, record: Record) -> None:
        """Record what is known of an image. Raises OSError."""
        self._write(self._folder / "pulled" / image_id, asdict(record))
        self.pulled[image_id] = record

    def drop(self, image_id: str) -> None:
        """The image is no longer on the node. Raises OSError."""
        (self._folder / "pulled" / image_id).unlink(missing_ok=True)
        self.pulled.pop(image_id, None)

    def begin(self, begun: Begun) -> None:
        """Record a pull that is about to begin. Raises OSError."""
        self._write(self._begun(str(begun.reference)), {"reference": str(begun.reference), "spared": begun.spared})
        self.begun[str(begun.reference)] = begun

    def end(self, name: str) -> None:
        """The pull of the reference of that name has ended, and how is known. Raises OSError."""
        self._begun(name).unlink(missing_ok=True)
        self.begun.pop(name, None)

    def _begun(self, name: str) -> Path:
        return self._folder / "begun" / hashlib.sha256(name.encode()).hexdigest()

    def _the_key(self) -> bytes:
        if self._key is None:
            path = self._folder / "key"
            self._key = files.beginning(path, _KEY_SIZE) if path.exists() else b""
            if len(self._key) != _KEY_SIZE:  # then all credentials have to be shown again
                self._key = secrets.token_bytes(_KEY_SIZE)
                self._durably(path, self._key)
        return self._key

    def _write(self, path: Path, document: Mapping[str, Any]) -> None:
        self._durably(path, json.dumps(document).encode())

    def _durably(self, path: Path, content: bytes) -> None:
        """Write a file that a power failure does not undo: it may be all that keeps an image from others."""
        files.private_folder(self._folder)
        files.private_folder(path.parent)
        files.write_private(path, content)
        for place in (path, path.parent):
            opened = os.open(place, os.O_RDONLY)
            try:
                os.fsync(opened)
            finally:
                os.close(opened)


def _content(folder: Path) -> list[Path]:
    """The files in a folder, but for those whose writing was interrupted."""
    return [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []


def _record(path: Path) -> Record:
    try:
        found = bounds.json_document(path.read_bytes(), bounds.DOCUMENT)
        opened = {
            str(name): Opened(each["everybody"] is True, tuple(each["credentials"]), tuple(each["namespaces"]))
            for name, each in found["repositories"].items()
        }
        return Record(opened, found["whole"] is True)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return Record(whole=False)


def _begun(path: Path) -> Begun | None:
    """None for a file that cannot be read: it is written before the pull, so there is no image yet that it is about."""
    try:
        found = bounds.json_document(path.read_bytes(), bounds.DOCUMENT)
        return Begun(references.parse(str(found["reference"])), str(found["spared"]))
    except (OSError, ValueError, LookupError, TypeError, InvalidInput):
        return None
