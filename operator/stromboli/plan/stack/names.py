"""What the parts of a stack are called in Podman. Pure.

All names are computed from the session's UID and the name in the file, so that two sessions with the same file never
meet, and an operator that has been killed finds everything again. Names of a file may have `_`, `.`, capitals and any
length; such a name is shortened to what names of ours may contain, and a hash of the whole name keeps it unique.

The names by which services reach each other are in `aliases.py`; who owns an object, in plan/ownership.py.
"""

from __future__ import annotations

import hashlib
import re

from stromboli import naming
from stromboli.naming import ContainerKey, Role

_SERVICE, _NAMESPACE = "svc-", "ns-"
_LONGEST = 36  # characters: a role then has at most 40, and a container's name 87
_HASH = 16  # hex digits
_PLAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_OTHER = re.compile(r"[^a-z0-9]+")


def service(name: str) -> Role:
    """The role of a service's container."""
    return Role(f"{_SERVICE}{_part(name)}")


def namespace(name: str) -> Role:
    """The role of the container that holds the network namespace that others share with this service."""
    return Role(f"{_NAMESPACE}{_part(name)}")


def is_service(role: Role) -> bool:
    """Whether a container with this role runs a service."""
    return role.startswith(_SERVICE)


def is_holder(role: Role) -> bool:
    """Whether a container with this role holds a network namespace."""
    return role.startswith(_NAMESPACE)


def is_part(role: Role) -> bool:
    """Whether a container with this role belongs to a stack: it runs a service, or holds a namespace."""
    return is_service(role) or is_holder(role)


def container(session_uid: str, name: str) -> ContainerKey:
    """The container of a service."""
    return ContainerKey(session_uid, service(name))


def holder(session_uid: str, name: str) -> ContainerKey:
    """The container that holds the network namespace of a service."""
    return ContainerKey(session_uid, namespace(name))


def network(session_uid: str, name: str) -> str:
    """One of the stack's networks."""
    return f"stromboli-{session_uid}-net-{_part(name)}"


def volume(session_uid: str, key: str) -> str:
    """One of the stack's volumes: `key` is its name in the file, or `anonymous` of it."""
    return f"stromboli-{session_uid}-vol-{_part(key)}"


def anonymous(service_name: str, target: str) -> str:
    """The key of a volume that has no name in the file. A replaced container finds its volume by it.

    No volume of a file has a colon in its name.
    """
    return f"{service_name}:{target}"


def image(session_uid: str, service_name: str) -> str:
    """The image that is built for a service. The names that the file has for it are never used."""
    return f"{'/'.join(naming.BUILDS)}:{session_uid}-{_part(service_name)}"


def of_build(service_name: str, what: str) -> str:
    """The key of what the build of a service's image needs meanwhile: no service or network of a file has a colon in
    its name.
    """
    return f"{service_name}:{what}"


def built_with(key: str) -> str | None:
    """The service for whose build this is the key of something; None if it is no such key."""
    service_name, colon, _ = key.rpartition(":")
    return service_name if colon else None


def _part(name: str) -> str:
    """The part of a name that stands for `name`, different for each: only a shortened one has a dot in it."""
    if len(name) <= _LONGEST and _PLAIN.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH]
    readable = _OTHER.sub("-", name.lower()).strip("-")[: _LONGEST - _HASH - 1].rstrip("-")
    return f"{readable or 'x'}.{digest}"
