"""Caches what was found in images, by image id: in memory, and on disk across restarts.

An image's id is the hash of its content, so what was found never expires. The facts for compatibility also depend on
what the CLI needs, which is part of their key. A file that cannot be read, or has another schema, counts as absent, and
the image is inspected again. A full disk does not stop a run either: the findings are then kept in memory only.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from cachetools import LRUCache
from pydantic import TypeAdapter, ValidationError

from stromboli import bounds
from stromboli.plan.compatibility import CLINeeds, ImageFacts
from stromboli.plan.contents import Contents

_log = logging.getLogger(__name__)
T = TypeVar("T")

REMEMBERED = 256  # images whose findings are kept in memory; all are on disk
# Increment them whenever what is found, or the way it is determined, changes.
FACTS_SCHEMA = 5
CONTENTS_SCHEMA = 2


class Cache(Generic[T]):
    """Findings of one type. `directory` is created when the first are written; it has one file per image, for the
    latest key only. Raises ValueError for an id that is not 64 hexadecimal digits (an optional `sha256:` may precede
    them).
    """

    def __init__(self, directory: Path, adapter: TypeAdapter[T], schema: int) -> None:
        self._directory = directory
        self._adapter = adapter
        self._schema = schema
        self._memory: LRUCache[tuple[str, str], T] = LRUCache(REMEMBERED)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # only those in use

    async def get(self, image_id: str, key: str, find: Callable[[], Awaitable[T]]) -> T:
        """What was found in an image, determined by `find` if not cached; one `find` per image runs at a time.

        Errors of `find` propagate, and nothing is cached then.
        """
        place = (_hex(image_id), key)
        lock = self._locks.setdefault(place[0], asyncio.Lock())
        async with lock:
            found = self.known(image_id, key)
            if found is None:
                found = await find()
                self._write(*place, found)
                self._memory[place] = found
            return found

    def known(self, image_id: str, key: str) -> T | None:
        """What was found before, None if nothing was."""
        place = (_hex(image_id), key)
        if (found := self._memory.get(place)) is None and (found := self._read(*place)) is not None:
            self._memory[place] = found
        return found

    def _path(self, image: str) -> Path:
        return self._directory / f"{image}.json"

    def _read(self, image: str, key: str) -> T | None:
        try:
            entry = bounds.json_document(self._path(image).read_bytes(), bounds.ANSWER)
            if (entry["schema"], entry["key"]) != (self._schema, key):
                return None
            return self._adapter.validate_python(entry["found"])
        except (OSError, ValueError, LookupError, TypeError, ValidationError):
            return None

    def _write(self, image: str, key: str, found: T) -> None:
        path = self._path(image)
        part = path.with_suffix(".part")
        entry: dict[str, Any] = {"schema": self._schema, "key": key}
        entry["found"] = self._adapter.dump_python(found, mode="json")
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(entry), encoding="utf-8")
            os.replace(part, path)
        except OSError as e:
            _log.warning("what is in image %s is kept in memory only: %s", image[:12], e.strerror)


_FACTS, _CONTENTS = TypeAdapter(ImageFacts), TypeAdapter(Contents)


class FactsCache:
    """Facts by image id, the CLI's needs, and the user that works in it: empty for the image's own."""

    def __init__(self, directory: Path) -> None:
        self._cache = Cache(directory, _FACTS, FACTS_SCHEMA)

    async def get(
        self, image_id: str, needs: CLINeeds, look: Callable[[], Awaitable[ImageFacts]], user: str = ""
    ) -> ImageFacts:
        """The facts about an image, as `Cache.get`."""
        return await self._cache.get(image_id, f"{_hash(needs)} {user}" if user else _hash(needs), look)

    def known(self, image_id: str, needs: CLINeeds) -> ImageFacts | None:
        """The facts that were determined before, None if none were."""
        return self._cache.known(image_id, _hash(needs))


class ContentsCache:
    """Operating system and tools by image id."""

    def __init__(self, directory: Path) -> None:
        self._cache = Cache(directory, _CONTENTS, CONTENTS_SCHEMA)

    async def get(self, image_id: str, look: Callable[[], Awaitable[Contents]]) -> Contents:
        """What is in an image, as `Cache.get`."""
        return await self._cache.get(image_id, "", look)

    def known(self, image_id: str) -> Contents | None:
        """What was found before, None if nothing was."""
        return self._cache.known(image_id, "")


def _hex(image_id: str) -> str:
    digits = image_id.removeprefix("sha256:")
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise ValueError(f"{image_id!r} is not an image id")
    return digits


@lru_cache(maxsize=16)  # a list of images asks for each of them
def _hash(needs: CLINeeds) -> str:
    text = json.dumps(asdict(needs), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
