"""What the CLI prints in a run's attempts, line by line, as the read API serves it: secrets are masked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from stromboli.errors import ApiRefused, ApiUnreachable
from stromboli.httpapi.caller import Caller
from stromboli.httpapi.running import following
from stromboli.httpapi.running.launch import Launched
from stromboli.kube import objects
from stromboli.kube.caller import FIRST, LAST
from stromboli.kube.user import RUNS, Resource
from stromboli.naming import AGENTS_GROUP, VERSION

SILENCE = 3600.0  # seconds without a byte: the CLI may think for long
_LOGS = Resource("agentruns", AGENTS_GROUP, VERSION)
_PATIENCE = 30.0  # seconds for which the output of a run that has ended is asked for while it cannot be read
_ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Position:
    """How much of an output is known: up to a byte of an attempt's (from 1)."""

    attempt: int
    offset: int


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its end, and the position after it."""

    content: bytes
    after: Position


async def lines(caller: Caller, run: Launched, begin: Position) -> AsyncGenerator[Line, None]:
    """All lines from a position on, also of later attempts, until the run has ended.

    What is no longer kept is left out, and so is all that can no longer be read. Raises Refusal (404), ApiRefused.
    """
    attempt, offset = max(begin.attempt, 1), begin.offset
    async with aclosing(following.states(caller, run)) as states:
        async for state in states:
            while attempt <= len(state.status.attempts):
                async with aclosing(_Attempt(caller, run, attempt, offset).lines()) as found:
                    async for line in found:
                        yield line
                attempt, offset = attempt + 1, 0
            if state.status.is_finished:
                return


class _Attempt:
    """Reads the output of one attempt. `at` is the offset up to which it was read."""

    def __init__(self, caller: Caller, run: Launched, number: int, offset: int) -> None:
        self._caller, self._run, self._number, self._at = caller, run, number, offset
        self._begun: list[bytes] = []  # of a line whose end is still to come
        self._state = ""
        self._path = _LOGS.path(caller.namespace, run.name, "log")

    async def lines(self) -> AsyncGenerator[Line, None]:
        """Until it has ended, or can no longer be read."""
        clock = asyncio.get_running_loop().time
        pause, since = FIRST, clock()
        while True:
            before, self._state = self._at, ""
            try:
                async with aclosing(self._answer()) as found:
                    async for line in found:
                        yield line
            except ApiRefused as e:
                if not e.is_transient:  # it is withheld, or gone: what the run's end says is all there is
                    return
            except ApiUnreachable:
                pass
            if self._at > before:
                pause, since = FIRST, clock()
                continue
            if self._state == _ENDED or (clock() - since > _PATIENCE and await self._is_over()):
                break
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST)
        if self._begun:  # a last line without an end
            yield Line(b"".join(self._begun), Position(self._number, self._at))

    async def _answer(self) -> AsyncGenerator[Line, None]:
        query = {"uid": self._run.uid, "attempt": str(self._number), "offset": str(self._at), "follow": "true"}
        async with self._caller.cluster.stream(self._path, query, silence=SILENCE, accept="*/*") as answer:
            self._state = answer.headers.get("Stromboli-State", "")
            first = int(answer.headers.get("Stromboli-Offset", self._at))
            if first != self._at:  # the rest of the line that had begun is no longer kept
                self._begun, self._at = [], first
            async for piece in answer.chunks:
                begun = self._at - sum(map(len, self._begun))
                self._at += len(piece)
                whole, newline, rest = piece.rpartition(b"\n")
                if newline:
                    for line in b"".join((*self._begun, whole)).split(b"\n"):
                        begun += len(line) + 1
                        yield Line(line, Position(self._number, begun))
                    self._begun = []
                if rest:
                    self._begun.append(rest)

    async def _is_over(self) -> bool:
        try:
            state = objects.run(await self._caller.cluster.get(RUNS, self._caller.namespace, self._run.name))
        except (ApiRefused, ApiUnreachable) as e:
            return isinstance(e, ApiRefused) and not e.is_transient
        return state.status.is_finished or len(state.status.attempts) > self._number
