"""Objects as the API server sends them, in bytes → what of them is kept in memory. Pure.

A spec may be 1.5 MiB of JSON, and many times that as Python objects. Everything that is only passed by (pages of a
list, the runs of a queue) is decoded straight to its *outline*, which leaves out what is large: the rest is never
made into objects at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from stromboli import bounds

Wire = dict[str, Any]

SMALL = 32 * 1024  # bytes of JSON up to which a run is kept whole
# Bytes of JSON of a run's spec. etcd takes 1.5 MiB by default, of which annotations may take 256 KiB: the rest is for
# the status, without which the run could neither be started nor ended.
MAX_SPEC = 1152 * 1024
_VALUE = 64  # bytes, at least, of one more value as a Python object


class _Meta(msgspec.Struct, omit_defaults=True, rename="camel"):
    """What is used of an object's metadata. Annotations alone may be 256 KiB."""

    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None


class _Spec(msgspec.Struct, omit_defaults=True, rename="camel"):
    """What is used of the spec of a run, or of a session, besides a start."""

    session: dict[str, Any] | None = None
    timeout: str | None = None
    forked_from: dict[str, Any] | None = None
    ttl_after_last_use: str | None = None


class _Ended(msgspec.Struct, omit_defaults=True, rename="camel"):
    """What is used of the status of a run that has ended."""

    completion_time: str | None = None
    conditions: list[dict[str, Any]] | None = None


class _Outline(msgspec.Struct, rename="camel"):
    metadata: _Meta
    api_version: str = ""
    kind: str = ""
    spec: _Spec | None = None
    status: msgspec.Raw = msgspec.Raw(b"null")


class _RawSpec(msgspec.Struct):
    spec: msgspec.Raw = msgspec.Raw(b"")


class _Page(msgspec.Struct):
    items: list[_Outline] | None  # null where there are none
    metadata: dict[str, Any]


class _Head(msgspec.Struct):
    metadata: _Meta


class _Heads(msgspec.Struct):
    items: list[_Head] | None
    metadata: dict[str, Any]


class _Whole(msgspec.Struct):
    items: list[dict[str, Any]] | None
    metadata: dict[str, Any]


class _AllMetadata(msgspec.Struct):
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list; `more` asks for the next, and is empty on the last."""

    items: list[Wire]
    more: str


def page(content: bytes) -> Page:
    """The outlines of a page of a list. Raises ValueError."""
    found = msgspec.json.decode(content, type=_Page)
    return Page([_object(item) for item in found.items or ()], _more(found.metadata))


def heads(content: bytes) -> Page:
    """The metadata of a page of a list, of whatever kind its objects are. Raises ValueError."""
    found = msgspec.json.decode(content, type=_Heads)
    return Page([msgspec.to_builtins(item.metadata) for item in found.items or ()], _more(found.metadata))


def head(content: bytes) -> Wire:
    """The metadata of one object. Raises ValueError."""
    found: Wire = msgspec.to_builtins(msgspec.json.decode(content, type=_Head).metadata)
    return found


def of(content: bytes) -> Wire:
    """The outline of one object. Raises ValueError."""
    return _object(msgspec.json.decode(content, type=_Outline))


def small(content: bytes) -> Wire:
    """An object as it is kept: whole where it is small, else its outline. Raises ValueError."""
    return whole(content) if len(content) <= SMALL else of(content)


def spec(whole: Mapping[str, Any]) -> Wire:
    """The outline of a spec that is there already. Raises ValueError."""
    found: Wire = msgspec.to_builtins(msgspec.convert(whole, type=_Spec))
    return found


def size(spec: Mapping[str, Any]) -> int:
    """How many bytes of JSON a spec is that is there already."""
    return len(msgspec.json.encode(spec))


def page_whole(content: bytes) -> Page:
    """A page of a list with all of its objects. Raises ValueError."""
    found = msgspec.json.decode(bounds.cut_json(content), type=_Whole)
    return Page(found.items or [], _more(found.metadata))


def metadata(content: bytes) -> Wire:
    """All of one object's metadata. Raises ValueError."""
    return msgspec.json.decode(content, type=_AllMetadata).metadata


def whole(content: bytes) -> Wire:
    """An object, cut to a depth that any code can walk, less what nobody uses of its metadata. Raises ValueError."""
    content = bounds.cut_json(content)
    return {**msgspec.json.decode(content, type=dict[str, Any]), "metadata": head(content)}


def spec_size(content: bytes) -> int:
    """How many bytes of JSON an object's spec is. Raises ValueError."""
    found = msgspec.json.decode(content, type=_RawSpec)
    return len(memoryview(found.spec))


def cost(content: bytes) -> int:
    """About how many bytes an object takes as Python objects."""
    return len(content) + _VALUE * sum(content.count(mark) for mark in (b",", b"[", b"{"))


def _object(found: _Outline) -> Wire:
    made: Wire = {
        "apiVersion": found.api_version,
        "kind": found.kind,
        "metadata": msgspec.to_builtins(found.metadata),
        "spec": msgspec.to_builtins(found.spec or _Spec()),
    }
    if status := _status(found.status):
        made["status"] = status
    return made


def _status(raw: msgspec.Raw) -> Wire | None:
    """All of a status that is still written to, since a write replaces it; of one that is final, the conditions."""
    ended = msgspec.json.decode(raw, type=_Ended | None)
    if ended is None:
        return None
    if ended.completion_time is not None:
        reduced: Wire = msgspec.to_builtins(ended)
        return reduced
    found: Wire = msgspec.json.decode(raw)
    return found


def _more(metadata: Mapping[str, Any]) -> str:
    return str(metadata.get("continue") or "")
