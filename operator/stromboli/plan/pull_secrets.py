"""Secrets of type `kubernetes.io/dockerconfigjson`: whose credentials are meant for an image. Pure.

An entry is matched as the kubelet does: its host label by label, where `*` stands for (part of) one label, its port
exactly, and its path as a prefix. Several may match, and all of them are tried, the most specific first: that is how
credentials are rotated. No error has a value of the Secret in it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from stromboli import bounds
from stromboli.errors import InvalidInput
from stromboli.grammar.reference import HUB, Reference, shown
from stromboli.registry_credentials import Credentials, IdentityToken, Login

KEY = ".dockerconfigjson"  # of the Secret's data

_HUB_ENTRY = "index.docker.io"  # how `docker login` names Docker Hub
_API = ("/v1/", "/v2/")  # paths that `docker login` writes and that name no repository


@dataclass(frozen=True, slots=True)
class PullSecret:
    """One entry: `place` is a registry with its port, and perhaps the beginning of a path."""

    place: str
    credentials: Credentials


def read(document: bytes | str) -> tuple[PullSecret, ...]:
    """The entries with credentials. Raises InvalidInput, a predicate about the Secret's key."""
    try:
        auths = bounds.json_document(document, bounds.DOCUMENT)["auths"]
        items = [(str(place), entry) for place, entry in auths.items()]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidInput('is not JSON of the form {"auths": {"REGISTRY": {"auth": "…"}}}', KEY) from None
    found = ((place, _credentials(place, entry)) for place, entry in items)
    return tuple(PullSecret(_place(place), credentials) for place, credentials in found if credentials is not None)


def matching(secrets: Iterable[PullSecret], reference: Reference) -> tuple[Credentials, ...]:
    """The credentials to try for the reference's registry, in this order. An empty tuple: it is asked without any."""
    known = list(secrets)
    found = [each for each in known if _matches(each.place, reference)]
    if not found and reference.registry == HUB:
        found = [each for each in known if each.place == _HUB_ENTRY]
    ordered = sorted(found, key=lambda each: each.place, reverse=True)
    return tuple(dict.fromkeys(each.credentials for each in ordered))


def _matches(place: str, reference: Reference) -> bool:
    host, _, path = place.partition("/")
    pattern, _, port = host.partition(":")
    name, _, own_port = reference.registry.partition(":")
    labels, own_labels = pattern.split("."), name.split(".")
    if port != own_port or len(labels) != len(own_labels):
        return False
    return reference.path.startswith(path) and all(map(fnmatchcase, own_labels, labels))


def _place(written: str) -> str:
    """`https://Registry.test/v2/` → `registry.test`."""
    for scheme in ("https://", "http://"):
        written = written.removeprefix(scheme)
    host, slash, path = written.partition("/")
    path = slash + path
    for prefix in _API:
        if path.startswith(prefix):
            path = path[len(prefix) - 1 :]
    return host.lower() + ("" if path == "/" else path)


def _credentials(place: str, entry: Any) -> Credentials | None:
    """None for an entry without any, as `docker login` leaves them where it keeps its passwords elsewhere."""
    if not isinstance(entry, Mapping):
        raise _invalid(place, "is no object")
    if token := entry.get("identitytoken"):
        return IdentityToken(str(token))
    if auth := entry.get("auth"):
        return _decoded(place, str(auth))
    if user := entry.get("username"):
        return Login(str(user), str(entry.get("password") or ""))
    return None


def _decoded(place: str, auth: str) -> Login:
    try:
        user, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise _invalid(place, "has an `auth` that is not base64") from None
    if not colon:
        raise _invalid(place, "has an `auth` that is not USER:PASSWORD in base64")
    return Login(user, password)


def _invalid(place: str, why: str) -> InvalidInput:
    return InvalidInput(f"the entry of {shown(place)} {why}", KEY)
