"""Who asks, and whether they may: the cluster's own answer, by TokenReview and SubjectAccessReview.

A yes is remembered for a few seconds, under a hash of the token; a no and a failure never are.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, Protocol, TypeVar

from cachetools import TLRUCache

from stromboli.api.errors import Declined
from stromboli.kube.reviews import Access, Person

REMEMBERED = 10.0  # seconds for which a token that was revoked still opens, beyond the API server's own 10
MOST_REMEMBERED = 1024
T = TypeVar("T")


class Asked(Protocol):
    """What of `kube.reviews.Reviews` is used here."""

    async def person(self, token: str) -> Person | None:
        """Whose token that is."""

    async def allows(self, person: Person, access: Access) -> bool:
        """Whether they may."""


class Gate:
    """Lets requests in. `clock` counts seconds."""

    def __init__(self, reviews: Asked, clock: Callable[[], float] = time.monotonic) -> None:
        self._reviews = reviews
        self._people: _Memory[Person] = _Memory(clock)
        self._permits: _Memory[bool] = _Memory(clock)

    async def admit(self, authorization: str | None, access: Access) -> Person:
        """Whoever has that `Authorization` header, and may. Raises Declined (401, 403), ClusterUnavailable."""
        token = _token(authorization)
        key = hashlib.sha256(token.encode()).digest()
        person = await self._people.get(key, lambda: self._reviews.person(token))
        if person is None:
            raise Declined(401, "the cluster does not know this token, or it has run out; get another")
        if not await self._permits.get((key, access), lambda: self._reviews.allows(person, access)):
            raise Declined(
                403,
                f"{person.username} may not {access.verb} {access.resource}/{access.subresource} of {access.group} for "
                f"{access.name} in {access.namespace}; the ClusterRole stromboli-viewer, bound there, allows it",
            )
        return person


class _Memory(Generic[T]):
    """Answers that were a yes, each with the moment until which it holds; beyond MOST_REMEMBERED the least used go."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: TLRUCache[Hashable, tuple[float, T]] = TLRUCache(MOST_REMEMBERED, _until, clock)

    async def get(self, key: Hashable, ask: Callable[[], Awaitable[T | None]]) -> T | None:
        """What is known, or what `ask` says; it holds for REMEMBERED seconds from when it was asked."""
        if (known := self._known.get(key)) is not None:
            return known[1]
        until = self._clock() + REMEMBERED
        answer = await ask()
        if answer:
            self._known[key] = (until, answer)
        return answer


def _until(key: Hashable, remembered: tuple[float, object], now: float) -> float:
    return remembered[0]


def _token(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or not token.isascii():
        raise Declined(
            401, "a request needs the header `Authorization: Bearer TOKEN`, as the cluster's API server does"
        )
    return token
