"""The definition of a container as hashes of its aspects, which its label keeps, to find what has changed. Pure.

The hashes are of the body with which it was created, so everything counts that makes the container what it is: the
image's ID, the values of env files, volumes, networks. `build`, `pull_policy`, `depends_on`, `profiles` and `scale` are
not in it, and neither is the content of mounted files and of secrets, just as in Compose. Since values of the
environment may be secrets, a hash is of the whole aspect, never of one value.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from stromboli import bounds, naming
from stromboli.plan.stack.supervision import Supervision

Definition = Mapping[str, str]

_DIGITS = 16
_OTHER = "settings"
# Field of the body → the word for it in messages: "its … changed".
_ASPECTS = {
    "image": "image",
    "entrypoint": "command",
    "command": "command",
    "work_dir": "command",
    "user": "user",
    "env": "environment",
    "unsetenv": "environment",
    "mounts": "mounts",
    "volumes": "mounts",
    "image_volumes": "mounts",
    "netns": "network",
    "Networks": "network",
    "hostadd": "network",
    "portmappings": "network",
    "hostname": "network",
    "resource_limits": "limits",
    "shm_size": "limits",
    "r_limits": "limits",
    "cap_add": "rights",
    "cap_drop": "rights",
    "privileged": "rights",
    "labels": "labels",
}


def of(body: Mapping[str, Any], supervision: Supervision | None, internal: Mapping[str, bool]) -> Definition:
    """The definition of a container that is to be created from this body.

    Of the labels, only the user's own count. `internal` says of each of the stack's networks, by its name in Podman,
    whether it has no way out: a network that changes in that is another network.
    """
    parts: dict[str, dict[str, Any]] = {}
    for field, value in body.items():
        if field != "name":
            counted = _of_user(value) if field == "labels" else value
            parts.setdefault(_ASPECTS.get(field, _OTHER), {})[field] = counted
    parts.setdefault("network", {})["internal"] = {name: internal[name] for name in body.get("Networks") or {}}
    if supervision is not None:
        check = supervision.check
        parts["health check"] = {"check": None if check is None else repr(check), "ports": supervision.ports}
        parts.setdefault(_OTHER, {})["restart"] = supervision.restart
    return {aspect: _hash(part) for aspect, part in sorted(parts.items())}


def to_label(definition: Definition) -> str:
    """The text of the label."""
    return json.dumps(definition)


def from_label(text: str) -> Definition | None:
    """The definition in a label; None if there is none in it."""
    try:
        found = bounds.json_document(text, bounds.DOCUMENT)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    return {str(aspect): str(value) for aspect, value in found.items()}


def changes(old: Definition | None, new: Definition) -> str:
    """What has changed, as a sentence: "its environment and its image changed"; empty if nothing has."""
    if old is None:
        return "its label is lost"
    aspects = [f"its {one}" for one in _changed(old, new)]
    if not aspects:
        return ""
    *most, last = aspects
    return f"{', '.join(most)} and {last} changed" if most else f"{last} changed"


def _changed(old: Definition, new: Definition) -> Iterator[str]:
    for aspect in sorted({*old, *new}):
        if old.get(aspect) != new.get(aspect):
            yield aspect


def _of_user(labels: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if not name.startswith(f"{naming.GROUP}/")}


def _hash(part: Mapping[str, Any]) -> str:
    text = json.dumps(part, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
