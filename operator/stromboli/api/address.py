"""`api.json` in the operator's home: the URL of the read API, and the CA certificate to verify it with.

Only the home's owner can read it. A killed operator leaves a stale file. That is harmless: another process on the same
port cannot present a certificate of that CA.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from stromboli import bounds, files
from stromboli.errors import LocalFailure

FILE = "api.json"


@dataclass(frozen=True, slots=True)
class Address:
    """`url` is `https://HOST:PORT`; `authority` is the PEM certificate of the CA that signed the server's."""

    url: str
    authority: str


def write(home: Path, address: Address) -> None:
    """Write `api.json` into the home, readable by its owner only. Raises OSError."""
    document = {"url": address.url, "ca": address.authority}
    files.write_private(home / FILE, json.dumps(document).encode("ascii"))


def remove(home: Path) -> None:
    (home / FILE).unlink(missing_ok=True)


def read(home: Path) -> Address:
    """The address of the operator with that home. Raises LocalFailure if there is none, or the file is invalid."""
    path = home / FILE
    try:
        found = bounds.json_document(path.read_bytes(), bounds.DOCUMENT)
        address = Address(found["url"], found["ca"])
    except FileNotFoundError as e:
        raise LocalFailure(
            f"no operator is running in {home}", "`stromboli up` starts it; STROMBOLI_HOME selects another folder"
        ) from e
    except (ValueError, KeyError, TypeError) as e:
        raise LocalFailure(f"{path} is not a valid address file", "remove it and restart the operator") from e
    if not isinstance(address.url, str) or not isinstance(address.authority, str):
        raise LocalFailure(f"{path} is not a valid address file", "remove it and restart the operator")
    if not address.url.startswith("https://"):  # the client sends its token there
        raise LocalFailure(f"{path} has the URL {address.url!r}, which is not https://…", "restart the operator")
    return address
