"""What `up` was told about settings, which files of the home keep: read, and joined with what it is told now."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from stromboli import bounds
from stromboli.errors import LocalFailure


def section(file: Path, name: str) -> dict[str, Any]:
    """The keys of a section; empty if there are none. Raises LocalFailure if the file cannot be read."""
    try:
        found = bounds.yaml_document(file.read_bytes(), bounds.DOCUMENT)
    except FileNotFoundError:
        return {}
    except ValueError as e:
        raise LocalFailure(f"{file} cannot be read: {e}", "correct the file, or remove it") from e
    keys = found.get(name) if isinstance(found, dict) else None
    return dict(keys) if isinstance(keys, dict) else {}


def joined(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """A key keeps its value until another is given; an empty one removes it."""
    return {key: value for key, value in {**before, **now}.items() if value != ""}


def text(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """The text of the gateway's settings file."""
    head = (
        "# The gateway's settings. `stromboli up` keeps what STROMBOLI_SERVER_* and STROMBOLI_RATE_LIMIT_* have set.\n"
    )
    return head + yaml.safe_dump({name: dict(keys) for name, keys in sections.items()}, sort_keys=True)
