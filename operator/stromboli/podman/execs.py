"""Runs a command in a running container, limited in time and output. What to run, and when, is decided elsewhere.

One takes 60 to 110 ms (4.3.1, network none), two thirds of it the runtime's, and 40 ms of CPU in the background for
Podman to forget it. `podman healthcheck run` over the API takes 120 to 150 ms, keeps all output in Podman's memory, and
cannot be ended.

A command that does not end in time is killed, which only /proc makes possible: see `processes`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stromboli.errors import NotFound, StromboliError
from stromboli.podman.connection import Connection, segment
from stromboli.podman.failures import answer, reading
from stromboli.podman.frames import Frames, Tail
from stromboli.podman.processes import Processes

OUTPUT = 4096  # bytes of output that are kept
# Bytes of output that are read. Of more, nobody takes any: to read 100 MB takes a second of a core.
_FLOOD = 1024 * 1024
_ENDING = 5.0  # seconds in which Podman has to notice that a killed command has ended
_POLL = (0.01, 0.02, 0.05, 0.1, 0.25)  # seconds between looks whether a command has ended; then as the last


@dataclass(frozen=True, slots=True)
class Executed:
    """What came of a command: `exit_code` is None if it did not end in time, and `ended` whether it is over now.

    127 is the exit code of a command that does not exist, 126 of one that cannot be run, 137 of a killed one.
    `output` has the end of standard output and standard error, as they came; of a flood, that of its first MiB.
    """

    exit_code: int | None
    output: str
    ended: bool


@dataclass(frozen=True, slots=True)
class _Session:
    running: bool
    exit_code: int
    pid: int


class Execs:
    """The commands that are run in containers of one Podman."""

    def __init__(self, connection: Connection, processes: Processes) -> None:
        self._connection = connection
        self._processes = processes

    async def run(self, container: str, command: Sequence[str], *, limit: float, most: int = OUTPUT) -> Executed:
        """Run a command as the container's user, in its environment and working directory, for at most `limit` seconds.

        Raises NotFound if there is no such container, and PodmanError if it is not running. Cancelling kills the
        command too. If the operator dies meanwhile, the command goes on: see `clear`.
        """
        session = await self._create(container, command)
        tail = Tail(most)
        try:
            async with asyncio.timeout(limit):
                await self._follow(session, tail)
                exit_code = await self._until_over(session)
        except TimeoutError:
            return Executed(None, tail.text, await self._end(session))
        except asyncio.CancelledError:
            with contextlib.suppress(StromboliError):
                await self._end(session)
            raise
        await self._processes.tidy(session)
        return Executed(exit_code, tail.text, ended=True)

    async def clear(self, container: str) -> None:
        """Kill every command that still runs in a container, such as one that an earlier operator began."""
        try:
            response = await self._connection.request("GET", f"/containers/{segment(container)}/json")
        except NotFound:
            return
        with reading("a container"):
            sessions = [str(each) for each in answer(response.content).get("ExecIDs") or ()]
        for session in sessions:
            await self._end(session)

    async def _create(self, container: str, command: Sequence[str]) -> str:
        body = {"Cmd": list(command), "AttachStdout": True, "AttachStderr": True}
        response = await self._connection.request("POST", f"/containers/{segment(container)}/exec", body=body)
        with reading("a command"):
            return str(answer(response.content)["Id"])

    async def _follow(self, session: str, tail: Tail) -> None:
        """Start it, and read its output to the end, or to where it is a flood: then Podman discards the rest."""
        frames = Frames()
        call = self._connection.stream("POST", f"/exec/{segment(session)}/start", body={"Detach": False, "Tty": False})
        async with call as response:
            async for chunk in response.chunks:
                tail.add(frames.data(chunk))
                if tail.size > _FLOOD:
                    return

    async def _until_over(self, session: str) -> int:
        """Its exit code, once it has ended."""
        pauses = iter(_POLL)
        pause = 0.0
        while (found := await self._inspect(session)).running:
            pause = next(pauses, pause)
            await asyncio.sleep(pause)
        return found.exit_code

    async def _end(self, session: str) -> bool:
        """Kill its command, if it still runs; whether it is over."""
        try:
            async with asyncio.timeout(_ENDING):
                found = await self._inspect(session)
                if not found.running:
                    return True
                if not await self._processes.end(session, found.pid):
                    return False
                await self._until_over(session)
                await self._processes.tidy(session)
        except (NotFound, TimeoutError) as error:
            return isinstance(error, NotFound)
        return True

    async def _inspect(self, session: str) -> _Session:
        response = await self._connection.request("GET", f"/exec/{segment(session)}/json")
        with reading("a command"):
            found: Any = answer(response.content)
            return _Session(bool(found["Running"]), int(found["ExitCode"]), int(found["Pid"]))
