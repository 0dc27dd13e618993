"""The answer about a run that has ended, with all of what the agent said: the status has its first 32 KiB."""

from __future__ import annotations

from contextlib import aclosing

from pydantic import BaseModel

from stromboli.errors import ApiRefused, ApiUnreachable
from stromboli.httpapi.caller import Caller
from stromboli.httpapi.errors import Refusal
from stromboli.httpapi.running.launch import Launched
from stromboli.httpapi.running.lines import Position, lines
from stromboli.httpapi.shapes.run import RunRequest
from stromboli.httpapi.translate import answer
from stromboli.kube.user import Object

MOST = 16 * 1024 * 1024  # bytes of output in an answer


async def answered(caller: Caller, run: Launched, state: Object, wanted: RunRequest) -> tuple[int, BaseModel]:
    """The HTTP status and the body."""
    form = wanted.claude.output_format or "text"
    printed = await _printed(caller, run) if answer.needs_lines(state, form) else None
    return answer.run_answer(state, form, printed)


async def _printed(caller: Caller, run: Launched) -> list[bytes] | None:
    """The CLI's lines; None if they can no longer be read."""
    found: list[bytes] = []
    size = 0
    try:
        async with aclosing(lines(caller, run, Position(1, 0))) as printed:
            async for line in printed:
                found.append(line.content)
                size += len(line.content)
                if size > MOST:
                    return None
    except (Refusal, ApiRefused, ApiUnreachable):
        return None
    return found
