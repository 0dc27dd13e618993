"""One object of the API server, as it comes and decoded. Errors are those of client.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from stromboli import bounds
from stromboli.errors import HttpFailed
from stromboli.kube.faults import code, unavailable
from stromboli.kube.plain import Kind, Plain

T = TypeVar("T")


async def content(plain: Plain, kind: Kind, namespace: str | None, name: str) -> bytes | None:
    """An object in bytes; None if it does not exist. `namespace` is None for cluster-scoped kinds. The names must be
    valid.
    """
    try:
        return await plain.get(kind, name, namespace=namespace)
    except HttpFailed as e:
        if code(e) == 404:
            return None
        raise unavailable(e) from e


def decoded(decode: Callable[[bytes], T], content: bytes) -> T:
    """The decoded bytes. They are cut only if they are too deep, since cutting is slower than skipping large parts."""
    try:
        try:
            return decode(content)
        except RecursionError:
            return decode(bounds.cut_json(content))
    except ValueError as e:
        raise unavailable(e) from e
