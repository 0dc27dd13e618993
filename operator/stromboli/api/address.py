"""`api.json` in the operator's home: where the read API is, and by which certificate it is known.

Only the home's owner can read it. One that an operator left which was killed leads nowhere, and nobody else who comes
to have that port can prove to be the operator.
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
    """`url` is `https://HOST:PORT`, `authority` the PEM certificate that has signed the server's."""

    url: str
    authority: str


def write(home: Path, address: Address) -> None:
    """Write it into the home, where only its owner can read it."""
    told = {"url": address.url, "ca": address.authority}
    files.write_private(home / FILE, json.dumps(told).encode("ascii"))


def remove(home: Path) -> None:
    (home / FILE).unlink(missing_ok=True)


def read(home: Path) -> Address:
    """Where the operator of that home is. Raises LocalFailure where none has said so."""
    path = home / FILE
    try:
        found = bounds.json_document(path.read_bytes(), bounds.DOCUMENT)
        address = Address(found["url"], found["ca"])
    except FileNotFoundError as e:
        raise LocalFailure(
            f"no operator is at work in {home}", "`stromboli up` starts it; STROMBOLI_HOME names another folder"
        ) from e
    except (ValueError, KeyError, TypeError) as e:
        raise LocalFailure(f"{path} is not what an operator writes", "remove it and start the operator anew") from e
    if not isinstance(address.url, str) or not isinstance(address.authority, str):
        raise LocalFailure(f"{path} is not what an operator writes", "remove it and start the operator anew")
    if not address.url.startswith("https://"):  # a token goes there
        raise LocalFailure(f"{path} leads to {address.url!r}, not to https://…", "start the operator anew")
    return address
