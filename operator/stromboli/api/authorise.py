"""Authenticates and authorizes requests with the cluster's TokenReview and SubjectAccessReview.

Positive answers are cached for a few seconds, keyed by a hash of the token; denials and failures are never cached.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, Protocol, TypeVar

from cachetools import TLRUCache

from stromboli.api.errors import Declined
from stromboli.kube.reviews import Access, Person

REMEMBERED = 10.0  # seconds; a revoked token still works that long, in addition to the API server's own 10
MOST_REMEMBERED = 1024
T = TypeVar("T")


class Asked(Protocol):
    """The part of `kube.reviews.Reviews` that is used here."""

    async def person(self, token: str) -> Person | None:
        """The user that the token authenticates; None if it is not valid."""

    async def allows(self, person: Person, access: Access) -> bool:
        """Whether that user has this access."""


class Authorizer:
    """Admits requests. `clock` returns seconds."""

    def __init__(self, reviews: Asked, clock: Callable[[], float] = time.monotonic) -> None:
        self._reviews = reviews
        self._people: _Memory[Person] = _Memory(clock)
        self._permits: _Memory[bool] = _Memory(clock)

    async def admit(self, authorization: str | None, access: Access) -> Person:
        """The user of that `Authorization` header, if allowed. Raises Declined (401, 403), ClusterUnavailable."""
        token = _token(authorization)
        key = hashlib.sha256(token.encode()).digest()
        person = await self._people.get(key, lambda: self._reviews.person(token))
        if person is None:
            raise Declined(401, "the cluster does not accept this token: it is unknown or has expired; get a new one")
        if not await self._permits.get((key, access), lambda: self._reviews.allows(person, access)):
            raise Declined(403, _forbidden(person, access), "Forbidden")
        return person


class _Memory(Generic[T]):
    """A cache of positive answers with their expiry; beyond MOST_REMEMBERED the least recently used are evicted."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: TLRUCache[Hashable, tuple[float, T]] = TLRUCache(MOST_REMEMBERED, _until, clock)

    async def get(self, key: Hashable, ask: Callable[[], Awaitable[T | None]]) -> T | None:
        """The cached answer, or that of `ask`. An answer expires REMEMBERED seconds after `ask` was called."""
        if (known := self._known.get(key)) is not None:
            return known[1]
        until = self._clock() + REMEMBERED
        answer = await ask()
        if answer:
            self._known[key] = (until, answer)
        return answer


def _forbidden(person: Person, access: Access) -> str:
    resource = f"{access.resource}/{access.subresource}" if access.subresource else access.resource
    of_one = f" for {access.name}" if access.name else ""
    place, bound = (access.namespace, "there") if access.namespace else ("all namespaces", "by a ClusterRoleBinding")
    return (
        f"{person.username} may not {access.verb} {resource} of {access.group}{of_one} in {place}; "
        f"the ClusterRole stromboli-viewer, bound {bound}, allows it"
    )


def _until(key: Hashable, remembered: tuple[float, object], now: float) -> float:
    return remembered[0]


def _token(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or not token.isascii():
        raise Declined(
            401, "a request needs the header `Authorization: Bearer TOKEN`, with a token of the cluster's API server"
        )
    return token
