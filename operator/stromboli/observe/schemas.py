"""Checks the JSON Schemas of runs, each once, in a process with limits of time and memory.

A schema of a few kilobytes can take minutes to check. Neither the operator's loop nor its memory may depend on it, so a
separate process with low priority does it. The verdict on a schema never changes, so it is cached.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from cachetools import LRUCache
from pydantic import JsonValue

from stromboli import bounds
from stromboli.errors import LocalFailure
from stromboli.observe.schema_judge import TOO_LARGE
from stromboli.plan import documents
from stromboli.plan.refusal import invalid

FIELD = "spec.claude.jsonSchema"
AT_ONCE = 2  # one per namespace at most
WALL_SECONDS = 120.0  # on a loaded machine, five seconds of CPU time take longer
MAX_REMEMBERED = 16 * 1024 * 1024  # bytes of cached verdicts
_OVERHEAD = 512  # bytes per cached verdict
_ENDED_BY_LIMITS = (-signal.SIGXCPU, -signal.SIGSEGV, -signal.SIGABRT, TOO_LARGE)
_TOO_EXPENSIVE = "takes too much time or memory to check; make it simpler"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The schema as it is passed to the CLI, or why it is refused."""

    text: str
    refused: bool

    @property
    def size(self) -> int:
        return len(self.text) + _OVERHEAD


class Schemas:
    """The checks and their cached verdicts. `command` is the process that checks a schema."""

    def __init__(self, command: Sequence[str] = (sys.executable, "-m", "stromboli.observe.schema_judge")) -> None:
        self._command = tuple(command)
        self._verdicts: LRUCache[bytes, Verdict] = LRUCache(MAX_REMEMBERED, getsizeof=lambda verdict: verdict.size)
        self._free = asyncio.Semaphore(AT_ONCE)
        self._namespaces: dict[str, _Namespace] = {}

    async def prepared(self, schema: JsonValue, namespace: str) -> str:
        """The schema as it is passed to the CLI. Raises Refused(InvalidSpec), LocalFailure (not checked)."""
        documents.schema(schema, FIELD)
        text = documents.text(schema)
        key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        async with self._one_at_a_time(namespace):
            if (verdict := self._verdicts.get(key)) is None:
                async with self._free:
                    verdict = await self._judged(text)
                self._verdicts[key] = verdict
        if verdict.refused:
            raise invalid(FIELD, verdict.text)
        return verdict.text

    @asynccontextmanager
    async def _one_at_a_time(self, namespace: str) -> AsyncIterator[None]:
        """One schema per namespace at a time: a namespace with many delays the others by one at most."""
        users = self._namespaces.setdefault(namespace, _Namespace())
        users.wanted += 1
        try:
            async with users.lock:
                yield
        finally:
            users.wanted -= 1
            if not users.wanted:
                del self._namespaces[namespace]

    async def _judged(self, text: str) -> Verdict:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe, stderr=pipe)
        try:
            async with asyncio.timeout(WALL_SECONDS):
                said, why = await process.communicate(text.encode("utf-8", "replace"))
        except TimeoutError as e:
            raise LocalFailure(f"{FIELD} could not be checked within {WALL_SECONDS:.0f} s; it is tried again") from e
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode in _ENDED_BY_LIMITS:
            return Verdict(_TOO_EXPENSIVE, refused=True)
        if process.returncode != 0:
            last = (why.decode("utf-8", "replace").strip().splitlines() or ["no word"])[-1]
            raise LocalFailure(f"{FIELD} could not be checked: exit code {process.returncode}: {last[:200]}")
        answer = bounds.json_document(said, bounds.ANSWER)
        if "refused" in answer:
            return Verdict(str(answer["refused"]), refused=True)
        return Verdict(json.dumps(answer["schema"], ensure_ascii=False), refused=False)


@dataclass(slots=True)
class _Namespace:
    """The lock of one namespace, and how many tasks use it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    wanted: int = 0
