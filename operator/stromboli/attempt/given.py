"""The operator's own record of the secrets that an attempt was given, kept on tmpfs to redact them from its output.

It is mounted into no container. It survives a restart of the operator, and changes to the Kubernetes Secret before the
output is read; it is removed together with the attempt's secrets.
"""

from __future__ import annotations

import json
from pathlib import Path

from stromboli import bounds
from stromboli.files import write_private
from stromboli.plan.redaction import UNKNOWN, Secrets


def write(path: Path, attempt: str, secrets: Secrets) -> None:
    """Record the secrets of the attempt of that name, replacing the record of any other attempt."""
    write_private(path, json.dumps({"attempt": attempt, "values": secrets.values}).encode())


def read(path: Path, attempt: str) -> Secrets:
    """The secrets that the attempt was given; UNKNOWN if there is no record, or it is another attempt's."""
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
