"""Lists in which a later entry replaces an earlier one that stands for the same: a mount at the same target.

The entries are in canonical form. Each keeps the index that it was written at.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Hashable, Iterable

from stromboli.compose.document.node import Node

Key = Callable[[Node], Hashable]
"""What an entry stands for; None if it is nothing that is understood here, and so never replaced."""


def once(entries: Iterable[Node], key: Key) -> tuple[Node, ...]:
    """The entries without those that are replaced; a later one stands where the replaced one stood."""
    found: dict[Hashable, Node] = {}
    for n, entry in enumerate(entries):
        known = key(entry)
        found[known if known is not None else (n,)] = numbered(entry, n)
    return tuple(found.values())


def numbered(entry: Node, n: int) -> Node:
    """The entry with its index in the list that it is written in."""
    return entry if entry.item is not None else Node(entry.value, entry.mark, n)


def by_value(entry: Node) -> Hashable:
    """Of texts: up to the first `=`, as in Compose."""
    return entry.value.partition("=")[0] if isinstance(entry.value, str) else None


def by_port(entry: Node) -> Hashable:
    """Of `expose`, where ports may be numbers."""
    return str(entry.value) if isinstance(entry.value, str | int) else None


def by_path(entry: Node) -> Hashable:
    """Of env files."""
    return _text(entry, "path")


def by_target(entry: Node) -> Hashable:
    """Of volumes."""
    return _text(entry, "target")


def by_secret_target(entry: Node) -> Hashable:
    """Of secrets, which are in a folder of their own if they have no path."""
    name = _text(entry, "target") or _text(entry, "source")
    return posixpath.join("/run/secrets", name) if name else None


def by_published(entry: Node) -> Hashable:
    """Of ports."""
    parts = [_scalar(entry, key) for key in ("host_ip", "published", "target", "protocol")]
    if parts[2] is None:
        return None
    return (parts[0] or "0.0.0.0", parts[1] or "", parts[2], parts[3] or "tcp")


def by_host(entry: Node) -> Hashable:
    """Of additional hosts, where a name may have several addresses."""
    return (_text(entry, "host"), _text(entry, "address"))


def _text(entry: Node, key: str) -> str | None:
    value = entry.value.get(key) if isinstance(entry.value, dict) else None
    return value.value if value is not None and isinstance(value.value, str) else None


def _scalar(entry: Node, key: str) -> str | None:
    value = entry.value.get(key) if isinstance(entry.value, dict) else None
    return str(value.value) if value is not None and isinstance(value.value, str | int) else None
