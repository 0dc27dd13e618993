"""Finds objects of one kind by UID: their names are known from the watch or a list."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, TypeVar

from stromboli.models.objects import Object

T = TypeVar("T", bound=Object)


class Index(Generic[T]):
    """The names of a kind's objects, by UID. `read` reads one by namespace and name, `listed` reads all of them."""

    def __init__(self, read: Callable[[str, str], Awaitable[T | None]], listed: Callable[[], AsyncIterator[T]]) -> None:
        self._read = read
        self._listed = listed
        self._names: dict[str, tuple[str, str]] = {}

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, uid: str) -> bool:
        return uid in self._names

    def uids(self) -> list[str]:
        """Those of all known objects."""
        return list(self._names)

    def add(self, obj: Object) -> str:
        """Record an object; returns its UID."""
        self._names[obj.uid] = (obj.namespace, obj.name)
        return obj.uid

    def remove(self, uid: str) -> None:
        """Forget an object that no longer exists."""
        self._names.pop(uid, None)

    async def find(self, uid: str) -> T | None:
        """The object as it is now; None if it no longer exists. Raises ClusterUnavailable."""
        if uid not in self._names:  # its event has not arrived yet
            async for obj in self._listed():
                self.add(obj)
        found = await self._read(*self._names[uid]) if uid in self._names else None
        if found is None or found.uid != uid:
            self.remove(uid)
            return None
        return found
