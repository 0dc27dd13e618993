"""Secrets of the types `kubernetes.io/dockerconfigjson` and `kubernetes.io/dockercfg`: which of their credentials are
meant for an image. Pure.

An entry is matched as the kubelet does: its host label by label, where `*` stands for (part of) one label, its port
exactly, and its path as a prefix. Several may match, and all of them are tried, the most specific first: that is how
credentials are rotated. No error has a value of the Secret in it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from stromboli import bounds
from stromboli.errors import InvalidInput
from stromboli.grammar.reference import HUB, MAX_LENGTH, Reference, shown
from stromboli.registry_credentials import Credentials, IdentityToken, Login, parts

KEY = ".dockerconfigjson"  # of the Secret's data
OLD_KEY = ".dockercfg"  # of the older type, whose document is what is below `auths` in the newer
MOST_ENTRIES = 1000  # of one Secret: each is compared with each image
MOST_TRIED = 16  # credentials for one image: each is a request that its registry may refuse

_HUB_ENTRY = "index.docker.io"  # how `docker login` names Docker Hub
_API = ("/v1/", "/v2/")  # paths that `docker login` writes and that name no repository


@dataclass(frozen=True, slots=True)
class PullSecret:
    """One entry: `place` is a registry with its port, and perhaps the beginning of a path."""

    place: str
    credentials: Credentials


@dataclass(frozen=True, slots=True)
class Keyring:
    """The credentials to try for one image, in this order, and what to say about where they are from.

    `secrets` are those that have them, as they are called in a message; `lacking` is a sentence for each Secret that
    was named and has none for the image.
    """

    credentials: tuple[Credentials, ...] = ()
    secrets: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()

    def said(self, registry: str, *, refused: bool) -> str:
        """What to add to the message about a pull that has failed; empty if no Secret was named."""
        said = []
        if self.secrets:
            how = "refuses" if refused else "was asked with"
            said.append(f"{registry} {how} the credentials of {' and of '.join(self.secrets)}")
        return "; ".join((*said, *self.lacking))


@dataclass(frozen=True, slots=True)
class Source:
    """A Secret that was named: how it is called in a message, and its data, None if it does not exist."""

    called: str
    data: Mapping[str, bytes] | None = field(repr=False)


Keys = Callable[[Reference], Awaitable[Keyring]]


async def _none(_: Reference) -> Keyring:
    return Keyring()


@dataclass(frozen=True, slots=True)
class Tenant:
    """For whom an image is wanted: a namespace, and how its credentials for an image are found. `keys` raises
    ClusterUnavailable.
    """

    namespace: str = ""
    keys: Keys = _none


def of_secret(data: Mapping[str, bytes]) -> tuple[PullSecret, ...]:
    """The entries with credentials of a Secret. Raises InvalidInput, a predicate about the Secret's key."""
    if KEY in data:
        return read(data[KEY])
    if OLD_KEY in data:
        return read_old(data[OLD_KEY])
    raise InvalidInput(
        f"has no key {KEY}; its type has to be kubernetes.io/dockerconfigjson, as that of a Secret that "
        "`kubectl create secret docker-registry` makes"
    )


def read(document: bytes | str) -> tuple[PullSecret, ...]:
    """The entries with credentials. Raises InvalidInput, a predicate about the Secret's key."""
    try:
        auths = bounds.json_document(document, bounds.DOCUMENT)["auths"]
        items = [(str(place), entry) for place, entry in auths.items()]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidInput('is not JSON of the form {"auths": {"REGISTRY": {"auth": "…"}}}', KEY) from None
    return _entries(items, KEY)


def read_old(document: bytes | str) -> tuple[PullSecret, ...]:
    """The entries with credentials of the older type. Raises InvalidInput, a predicate about the Secret's key."""
    try:
        auths = bounds.json_document(document, bounds.DOCUMENT)
        items = [(str(place), entry) for place, entry in auths.items()]
    except (ValueError, TypeError, AttributeError):
        raise InvalidInput('is not JSON of the form {"REGISTRY": {"auth": "…"}}', OLD_KEY) from None
    return _entries(items, OLD_KEY)


def matching(secrets: Iterable[PullSecret], reference: Reference) -> tuple[Credentials, ...]:
    """The credentials to try for the reference's registry, in this order. An empty tuple: it is asked without any."""
    known = list(secrets)
    found = [each for each in known if _matches(each.place, reference)]
    if not found and reference.registry == HUB:
        found = [each for each in known if each.place == _HUB_ENTRY]
    ordered = sorted(found, key=lambda each: each.place, reverse=True)
    return tuple(dict.fromkeys(each.credentials for each in ordered))[:MOST_TRIED]


def keyring(sources: Iterable[Source], reference: Reference) -> Keyring:
    """The credentials for an image in these Secrets; of those that are equally specific, the first Secret's first."""
    entries: list[PullSecret] = []
    called: dict[Credentials, str] = {}
    lacking = []
    for source in sources:
        try:
            own = _of_source(source)
        except InvalidInput as error:
            lacking.append(f"{source.called}{':' if error.field else ''} {error}")
            continue
        meant = matching(own, reference)
        if not meant:
            lacking.append(f"{source.called} has no credentials for {reference.name}")
        for credentials in meant:
            called.setdefault(credentials, source.called)
        entries += own
    found = tuple(each for each in matching(entries, reference) if each in called)
    return Keyring(found, tuple(dict.fromkeys(called[each] for each in found)), tuple(lacking))


def _of_source(source: Source) -> tuple[PullSecret, ...]:
    if source.data is None:
        raise InvalidInput("does not exist")
    return of_secret(source.data)


def _entries(items: Sequence[tuple[str, Any]], key: str) -> tuple[PullSecret, ...]:
    if len(items) > MOST_ENTRIES:
        raise InvalidInput(f"has more than {MOST_ENTRIES} entries", key)
    found = ((place, _credentials(place, entry, key)) for place, entry in items)
    return tuple(PullSecret(_place(place), credentials) for place, credentials in found if credentials is not None)


def _matches(place: str, reference: Reference) -> bool:
    if len(place) > MAX_LENGTH:
        return False
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


def _credentials(place: str, entry: Any, key: str) -> Credentials | None:
    """None for an entry without any, as `docker login` leaves them where it keeps its passwords elsewhere."""
    if not isinstance(entry, Mapping):
        raise _invalid(place, "is no object", key)
    found = _written(place, entry, key)
    if found is not None and not all(map(_is_utf8, parts(found))):
        raise _invalid(place, "has credentials that cannot be written in UTF-8", key)
    return found


def _written(place: str, entry: Mapping[str, Any], key: str) -> Credentials | None:
    if token := entry.get("identitytoken"):
        return IdentityToken(str(token))
    if auth := entry.get("auth"):
        return _decoded(place, str(auth), key)
    if user := entry.get("username"):
        return Login(str(user), str(entry.get("password") or ""))
    return None


def _is_utf8(text: str) -> bool:
    """JSON can name halves of characters (`\\ud800`), which no header can have."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _decoded(place: str, auth: str, key: str) -> Login:
    try:
        user, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise _invalid(place, "has an `auth` that is not base64", key) from None
    if not colon:
        raise _invalid(place, "has an `auth` that is not USER:PASSWORD in base64", key)
    return Login(user, password)


def _invalid(place: str, why: str, key: str) -> InvalidInput:
    return InvalidInput(f"the entry of {shown(place)} {why}", key)
