"""A program that reads its input, prints its output and ends, within a time; without blocking the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended, and what it printed. A negative exit code is the number of the signal that killed it."""

    exit_code: int
    output: bytes
    errors: bytes

    def last_words(self, otherwise: str) -> str:
        """The last line of its standard error."""
        return (self.errors.decode("utf-8", "replace").strip().splitlines() or [otherwise])[-1]


async def run(command: Sequence[str], given: bytes, *, seconds: float, env: Mapping[str, str] | None = None) -> Ended:
    """Run it with `given` on its standard input. Without an `env` it has that of this process.

    Raises OSError if it cannot be started, and TimeoutError after `seconds`; it does not run any more then.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, env=env, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(seconds):
            output, errors = await process.communicate(given)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None, "its output has ended, and it was awaited"
    return Ended(process.returncode, output, errors)
