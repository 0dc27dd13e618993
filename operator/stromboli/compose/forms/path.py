"""Paths of containers and of the node, as text: nothing is looked up."""

from __future__ import annotations

import posixpath


def clean(path: str) -> str:
    """The shortest equal path, without `.`, `..` and repeated slashes, as if no part of it were a link."""
    cleaned = posixpath.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned  # POSIX lets two slashes have a meaning of their own
