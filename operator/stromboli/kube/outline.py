"""Decodes objects as the API server sends them into what is kept in memory. Pure.

A spec can be 1.5 MiB of JSON, and many times that as Python objects. What is read in bulk (pages of a list, the runs
of a queue) is decoded directly to its *outline*, which leaves out the large parts: they never become objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from stromboli import bounds

Wire = dict[str, Any]

SMALL = 32 * 1024  # bytes of JSON; larger runs are kept as outlines
# Bytes of JSON of a run's spec. etcd accepts 1.5 MiB by default, of which annotations can take 256 KiB; the rest is for
# the status, without which the run could neither start nor end.
MAX_SPEC = 1152 * 1024
_VALUE = 64  # minimum bytes of one value as a Python object


class _Meta(msgspec.Struct, omit_defaults=True, rename="camel"):
    """The fields that we use of an object's metadata. Annotations alone can be 256 KiB."""

    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None


class _Spec(msgspec.Struct, omit_defaults=True, rename="camel"):
    """The fields that we use of a run's or session's spec, except to start it."""

    session: dict[str, Any] | None = None
    timeout: str | None = None
    progress_timeout: str | None = None
    backoff_limit: int | None = None
    retry_on: list[str] | None = None
    termination_grace_period: str | None = None
    fail_on_denied: bool | None = None
    suspend: bool | None = None
    cancel: bool | None = None
    ttl_seconds_after_finished: int | None = None
    notify: dict[str, Any] | None = None
    forked_from: dict[str, Any] | None = None
    ttl_after_last_use: str | None = None


class _Ended(msgspec.Struct, omit_defaults=True, rename="camel"):
    """The fields that we use of the status of a run that has ended."""

    completion_time: str | None = None
    node: str | None = None
    conditions: list[dict[str, Any]] | None = None
    notification: dict[str, Any] | None = None


class _Followed(_Ended, omit_defaults=True, rename="camel"):
    """Also those that say where its output is."""

    session: dict[str, Any] | None = None
    attempts: list[dict[str, Any]] | None = None


class _Text(msgspec.Struct, omit_defaults=True):
    """What the agent answered, as text."""

    text: str = ""


class _Answered(_Followed, omit_defaults=True):
    """Also the answer."""

    result: _Text | None = None


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
    """One page of a list; `more` is the token for the next page, empty on the last."""

    items: list[Wire]
    more: str


def page(content: bytes) -> Page:
    """The outlines of a page of a list. Raises ValueError."""
    found = msgspec.json.decode(content, type=_Page)
    return Page([_object(item) for item in found.items or ()], _more(found.metadata))


def heads(content: bytes) -> Page:
    """The metadata of the objects on a page of a list of any kind. Raises ValueError."""
    found = msgspec.json.decode(content, type=_Heads)
    return Page([msgspec.to_builtins(item.metadata) for item in found.items or ()], _more(found.metadata))


def head(content: bytes) -> Wire:
    """The metadata of one object. Raises ValueError."""
    found: Wire = msgspec.to_builtins(msgspec.json.decode(content, type=_Head).metadata)
    return found


def of(content: bytes) -> Wire:
    """The outline of one object. Raises ValueError."""
    return _object(msgspec.json.decode(content, type=_Outline))


def followed(content: bytes) -> Wire:
    """An outline in which the status is only what says where a run's output is. Raises ValueError."""
    return _with_status(content, _Followed)


def answered(content: bytes) -> Wire:
    """An outline in which the status is what says how a run has ended, and its answer as text. Raises ValueError."""
    return _with_status(content, _Answered)


def _with_status(content: bytes, status: type[_Followed]) -> Wire:
    found = msgspec.json.decode(content, type=_Outline)
    reduced = msgspec.json.decode(found.status, type=status | None)
    return {**_object(found), "status": {} if reduced is None else msgspec.to_builtins(reduced)}


def small(content: bytes) -> Wire:
    """An object as it is kept: whole if it is small, otherwise its outline. Raises ValueError."""
    return whole(content) if len(content) <= SMALL else of(content)


def spec(whole: Mapping[str, Any]) -> Wire:
    """The outline of a decoded spec. Raises ValueError."""
    found: Wire = msgspec.to_builtins(msgspec.convert(whole, type=_Spec))
    return found


def size(spec: Mapping[str, Any]) -> int:
    """The size of a decoded spec in bytes of JSON."""
    return len(msgspec.json.encode(spec))


def page_whole(content: bytes) -> Page:
    """A page of a list with whole objects. Raises ValueError."""
    found = msgspec.json.decode(bounds.cut_json(content), type=_Whole)
    return Page(found.items or [], _more(found.metadata))


def metadata(content: bytes) -> Wire:
    """All of one object's metadata. Raises ValueError."""
    return msgspec.json.decode(content, type=_AllMetadata).metadata


def whole(content: bytes) -> Wire:
    """An object, cut to a depth that any code can walk, without the unused parts of its metadata. Raises ValueError."""
    content = bounds.cut_json(content)
    return {**msgspec.json.decode(content, type=dict[str, Any]), "metadata": head(content)}


def spec_size(content: bytes) -> int:
    """The size of an object's spec in bytes of JSON. Raises ValueError."""
    found = msgspec.json.decode(content, type=_RawSpec)
    return len(memoryview(found.spec))


def cost(content: bytes) -> int:
    """Roughly how many bytes of memory an object takes once it is decoded."""
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
    """All of a status that may still be written, since a write replaces it; of a final one, only what `_Ended` has."""
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
