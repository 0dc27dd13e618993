"""Labels of services, networks and volumes: which ones a file may not set."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator

from stromboli import naming
from stromboli.compose.typed.base import Wrong
from stromboli.compose.typed.values import CONTROLS, members, scalar

_LONGEST_KEY = 1024
# The operator finds what is its own by its labels; the others are orders to Podman's auto-update.
_OURS = re.compile(rf"(?:[a-z0-9.-]+\.)?{re.escape(naming.GROUP)}(?:/.*)?", re.DOTALL)
_PODMANS = ("io.containers.autoupdate", "podman_systemd_unit")


def labels(value: object) -> Mapping[str, str]:
    """The labels; one without a value is empty. Raises Wrong for one that is reserved."""
    found: dict[str, str] = {}
    for key, one in members(value).items():
        if why := _unfit(key):
            raise Wrong((key,), why)
        try:
            found[key] = "" if one is None else scalar(one)
        except ValueError as e:
            raise Wrong((key,), str(e)) from e
    return found


def _unfit(key: str) -> str | None:
    small = key.strip().lower()
    if not small or len(key) > _LONGEST_KEY or CONTROLS.search(key):
        return f"is no name of a label: it has to have 1 to {_LONGEST_KEY} characters, none of them a control character"
    if _OURS.fullmatch(small):
        return f"labels of {naming.GROUP} are the operator's own; choose another prefix"
    if small.startswith(_PODMANS):
        return "is an order to Podman's auto-update, which would replace the container; take it out"
    return None


Labels = Annotated[Mapping[str, str], BeforeValidator(labels)]
