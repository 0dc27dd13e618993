"""Caches the facts about images by image id: in memory, and on disk across restarts.

An image's id is the hash of its content, so facts never expire. They also depend on what the CLI needs, which is part
of the key. A file that cannot be read, or has another schema, counts as absent, and the image is inspected again. A
full disk does not stop a run either: the facts are then kept in memory only.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from weakref import WeakValueDictionary

from cachetools import LRUCache
from pydantic import TypeAdapter, ValidationError

from stromboli.plan.compatibility import CLINeeds, ImageFacts

_log = logging.getLogger(__name__)

REMEMBERED = 256  # images whose facts are kept in memory; all are on disk
# Increment it whenever the facts, or the way they are determined, change.
SCHEMA = 4


@dataclass(frozen=True, slots=True)
class _Entry:
    schema: int
    needs: str
    facts: ImageFacts


_ADAPTER = TypeAdapter(_Entry)


class FactsCache:
    """`directory` is created when the first facts are written. It has one file per image, for the latest needs only."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._memory: LRUCache[tuple[str, str], ImageFacts] = LRUCache(REMEMBERED)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # only those in use

    async def get(self, image_id: str, needs: CLINeeds, inspect: Callable[[], Awaitable[ImageFacts]]) -> ImageFacts:
        """The facts about an image, determined by `inspect` if not cached; one `inspect` per image runs at a time.

        Errors of `inspect` propagate, and nothing is cached then. Raises ValueError for an id that is not 64
        hexadecimal digits (an optional `sha256:` may precede them).
        """
        key = (_hex(image_id), _hash(needs))
        lock = self._locks.setdefault(key[0], asyncio.Lock())
        async with lock:
            facts = self._memory.get(key) or self._read(*key)
            if facts is None:
                facts = await inspect()
                self._write(*key, facts)
            self._memory[key] = facts
            return facts

    def _path(self, image: str) -> Path:
        return self._directory / f"{image}.json"

    def _read(self, image: str, needs: str) -> ImageFacts | None:
        try:
            entry = _ADAPTER.validate_json(self._path(image).read_bytes())
        except (OSError, ValidationError):
            return None
        return entry.facts if (entry.schema, entry.needs) == (SCHEMA, needs) else None

    def _write(self, image: str, needs: str, facts: ImageFacts) -> None:
        path = self._path(image)
        part = path.with_suffix(".part")
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            part.write_bytes(_ADAPTER.dump_json(_Entry(SCHEMA, needs, facts)))
            os.replace(part, path)
        except OSError as e:
            _log.warning("facts about image %s are kept in memory only: %s", image[:12], e.strerror)


def _hex(image_id: str) -> str:
    digits = image_id.removeprefix("sha256:")
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise ValueError(f"{image_id!r} is not an image id")
    return digits


def _hash(needs: CLINeeds) -> str:
    text = json.dumps(asdict(needs), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
