"""The answer about a run that has ended, with all of what the agent said: the status has its first 32 KiB."""

from __future__ import annotations

from contextlib import aclosing

from stromboli.errors import ApiRefused, ApiUnreachable
from stromboli.httpapi.caller import Caller
from stromboli.httpapi.errors import Refusal
from stromboli.httpapi.running.launch import Launched
from stromboli.httpapi.running.lines import Position, lines
from stromboli.httpapi.shapes.run import RunAnswer, RunRequest
from stromboli.httpapi.translate import answer
from stromboli.httpapi.translate.request import output_format
from stromboli.models.run import Run

MOST = 16 * 1024 * 1024  # bytes of output in an answer: more than the operator keeps of an attempt


async def answered(caller: Caller, run: Launched, ended: Run, wanted: RunRequest) -> RunAnswer:
    """Raises Refusal for an end that is an error."""
    return answer.of_run(ended, await output(caller, run, ended, output_format(wanted)))


async def output(caller: Caller, run: Launched, ended: Run, form: str) -> str | None:
    """What the agent of a run that has ended said, in that form; None if it is what the status has, or nothing more can
    be read.
    """
    if answer.refusal(ended) is not None or not answer.needs_output(ended, form):
        return None
    return answer.of_log(await _log(caller, run), form)


async def _log(caller: Caller, run: Launched) -> bytes:
    """What the CLI has printed in all attempts, as far as it can be read."""
    found: list[bytes] = []
    size = 0
    try:
        async with aclosing(lines(caller, run, Position(1, 0))) as printed:
            async for line in printed:
                found.append(line.content + b"\n")
                size += len(found[-1])
                if size > MOST:
                    break
    except (Refusal, ApiRefused, ApiUnreachable):
        pass  # the run has ended, which is to be said, whatever can still be read of it
    return b"".join(found)
