"""The parts that we use of responses other than our own kinds: discovery, namespaces, ConfigMaps, Secrets. Pure.

Each function raises ValueError for a response of another form.
"""

from __future__ import annotations

import msgspec

from stromboli import bounds


class _Named(msgspec.Struct):
    name: str


class _Discovery(msgspec.Struct):
    groups: list[_Named] = msgspec.field(default_factory=list)
    resources: list[_Named] = msgspec.field(default_factory=list)


class _Labels(msgspec.Struct):
    labels: dict[str, str] | None = None


class _Labelled(msgspec.Struct):
    metadata: _Labels


class _ConfigMap(msgspec.Struct, rename="camel"):
    data: dict[str, str] | None = None
    binary_data: dict[str, bytes] | None = None  # base64 on the wire


class _Secret(msgspec.Struct):
    data: dict[str, bytes] | None = None  # base64 on the wire


def discovered(content: bytes) -> set[str]:
    """The names of the groups, or of the resources, that a discovery document lists."""
    bounds.measure_json(content, bounds.ANSWER)  # aggregated API servers can write into it
    found = msgspec.json.decode(content, type=_Discovery)
    return {entry.name for entry in (*found.groups, *found.resources)}


def labels(content: bytes) -> dict[str, str]:
    """The labels of an object."""
    return msgspec.json.decode(content, type=_Labelled).metadata.labels or {}


def config_map(content: bytes) -> dict[str, bytes]:
    """All of a ConfigMap's data."""
    found = msgspec.json.decode(content, type=_ConfigMap)
    return {key: text.encode() for key, text in (found.data or {}).items()} | (found.binary_data or {})


def secret(content: bytes) -> dict[str, bytes]:
    """All of a Secret's data."""
    return msgspec.json.decode(content, type=_Secret).data or {}
