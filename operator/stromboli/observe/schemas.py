"""Checks the JSON Schemas of runs, and answers by them, in processes with limits of time and memory.

A schema of a few kilobytes can take minutes to check, and so can an answer by it: a regular expression is enough.
Neither the operator's loop nor its memory may depend on it, so a separate process with low priority does it. The
verdict on a schema never changes, so it is cached.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from cachetools import LRUCache
from pydantic import JsonValue

from stromboli import bounds, childprocess
from stromboli.errors import LocalFailure, Refused
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
_ANSWER_TOO_EXPENSIVE = "it takes too much time or memory to check; make the schema simpler"
_TRIES = 2  # for an answer, which is checked at the end of a run: nothing else waits for that


@dataclass(frozen=True, slots=True)
class Verdict:
    """The schema as it is passed to the CLI, or why it is refused."""

    text: str
    refused: bool

    @property
    def size(self) -> int:
        return len(self.text) + _OVERHEAD


class Schemas:
    """The checks and their cached verdicts. `command` is the process that checks a schema, `answers` an answer."""

    def __init__(
        self,
        command: Sequence[str] = (sys.executable, "-m", "stromboli.observe.schema_judge"),
        answers: Sequence[str] = (sys.executable, "-m", "stromboli.observe.answer_judge"),
    ) -> None:
        self._command = tuple(command)
        self._answers = tuple(answers)
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

    async def violation(self, schema: JsonValue, answer: JsonValue, namespace: str) -> str | None:
        """How an answer violates a schema, as a clause in which keys of the answer may be; None if it is valid."""
        try:
            prepared = await self.prepared(schema, namespace)
        except Refused as refusal:
            return refusal.message
        data = await asyncio.to_thread(_lines, prepared, answer)
        async with self._one_at_a_time(namespace), self._free:
            for left in reversed(range(_TRIES)):
                try:
                    said = await _run(self._answers, data)
                    break
                except (LocalFailure, OSError) as error:
                    if not left:
                        return f"it could not be checked: {error}"
        if said is None:
            return _ANSWER_TOO_EXPENSIVE
        return None if said.get("valid") is True else str(said.get("violation"))

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
        said = await _run(self._command, text.encode("utf-8", "replace"))
        if said is None:
            return Verdict(_TOO_EXPENSIVE, refused=True)
        if "refused" in said:
            return Verdict(str(said["refused"]), refused=True)
        return Verdict(json.dumps(said["schema"], ensure_ascii=False), refused=False)


def _lines(schema: str, answer: JsonValue) -> bytes:
    """The input for a check of an answer. Schemas come from `json.dumps`, and are one line."""
    return schema.encode("utf-8", "replace") + b"\n" + json.dumps(answer).encode()


async def _run(command: Sequence[str], data: bytes) -> Mapping[str, Any] | None:
    """What the process says of its input; None if it exceeded its limits. Raises LocalFailure: it was not checked."""
    try:
        ended = await childprocess.run(command, data, seconds=WALL_SECONDS)
    except TimeoutError as e:
        raise LocalFailure(f"{FIELD} could not be checked within {WALL_SECONDS:.0f} s; it is tried again") from e
    if ended.exit_code in _ENDED_BY_LIMITS:
        return None
    if ended.exit_code != 0:
        last = ended.last_words("it printed nothing")[:200]
        raise LocalFailure(f"{FIELD} could not be checked: exit code {ended.exit_code}: {last}")
    found: Mapping[str, Any] = bounds.json_document(ended.output, bounds.ANSWER)
    return found


@dataclass(slots=True)
class _Namespace:
    """The lock of one namespace, and how many tasks use it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    wanted: int = 0
