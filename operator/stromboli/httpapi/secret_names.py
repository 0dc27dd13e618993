"""The object's name of a secret of `/secrets`. Pure.

Podman's names have capitals and underscores, which an object's cannot have. The name itself is in an annotation.
"""

from __future__ import annotations

import hashlib
import re

from stromboli import naming

KEY = "value"  # of the Secret's data
_PODMAN = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
MAX_LENGTH = 253
_OTHERS = re.compile(r"[^a-z0-9]+")
_MAX_SLUG = 63


def is_name(name: str) -> bool:
    """Whether a secret may have that name (Podman's rule)."""
    return len(name) <= MAX_LENGTH and _PODMAN.fullmatch(name) is not None


def secret_name(name: str) -> str:
    """The name itself if an object can have it; otherwise one that is alike, with a hash of it."""
    if naming.is_object_name(name):
        return name
    slug = _OTHERS.sub("-", name.lower()).strip("-")[:_MAX_SLUG].strip("-") or "secret"
    return f"{slug}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
