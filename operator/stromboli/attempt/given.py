"""What an attempt was given that must not be shown, in a file of the operator's: on tmpfs, and in no container.

It outlives the operator and the Kubernetes Secret, which may be changed or missing by the time the output is read, and
is removed with the attempt's secrets.
"""

from __future__ import annotations

import json
from pathlib import Path

from stromboli import bounds
from stromboli.files import write_private
from stromboli.plan.redaction import UNKNOWN, Secrets


def write(path: Path, attempt: str, secrets: Secrets) -> None:
    """Write it down for the attempt of that name, in place of another's."""
    write_private(path, json.dumps({"attempt": attempt, "values": secrets.values}).encode())


def read(path: Path, attempt: str) -> Secrets:
    """What that attempt was given; UNKNOWN where there is no such file, or it is another attempt's."""
    try:
        found = bounds.json_document(path.read_bytes(), bounds.ANSWER)
    except FileNotFoundError:
        return UNKNOWN
    except ValueError:
        found = None
    match found:
        case {"attempt": str(name), "values": list(values)} if name == attempt:
            return Secrets(value for value in values if isinstance(value, str))
    return UNKNOWN
