"""The commands that are run in containers of the fake Podman. They are no processes: a test says what comes of each."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

from stromboli.podman.processes import BuildMark, Processes
from tests.support.fake_podman_builds import Build
from tests.support.fake_podman_images import error
from tests.support.fake_podman_state import FakeContainer, FakeState
from tests.support.fake_podman_wire import Answer, Body, Call, in_json

_KILLED = 137
_NOT_FOUND = 127


@dataclass(slots=True)
class Command:
    """What a command does: it writes, and ends after `seconds` (None: only when killed) with `exit_code`."""

    exit_code: int = 0
    output: bytes = b""
    seconds: float | None = 0.0


@dataclass(slots=True)
class FakeExec:
    """One command in a container, until Podman forgets it."""

    container: FakeContainer
    command: list[str]
    running: bool = False
    exit_code: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def finish(self, exit_code: int) -> None:
        if not self.over.is_set():
            self.running, self.exit_code = False, exit_code
            self.over.set()


def command_of_words(_: FakeContainer, words: list[str]) -> Command:
    """The behaviour of the contract tests' commands: `true`, `echo`, `sleep N`, `sh -c "exit N"`; others end with 0."""
    match words:
        case ["echo", *said]:
            return Command(output=(" ".join(said) + "\n").encode())
        case ["sleep", seconds]:
            return Command(seconds=float(seconds))
        case ["sh", "-c", script] if found := re.fullmatch(r"(?:echo (\w+); )?exit (\d+)", script):
            return Command(int(found[2]), f"{found[1]}\n".encode() if found[1] else b"")
        case [program] if program.startswith("/nowhere"):
            return Command(_NOT_FOUND, b"Error: a command that was not found")
        case _:
            return Command()


class FakeExecs(FakeState):
    """Handlers of the calls about commands in containers."""

    def __init__(self) -> None:
        super().__init__()
        self.execs: dict[str, FakeExec] = {}
        # What a command in a container does; and those of all commands that were started, in order.
        self.executed: Callable[[FakeContainer, list[str]], Command] = command_of_words
        self.commands: list[tuple[str, list[str]]] = []
        self.processes = FakeProcesses(self.execs)

    async def _create_exec(self, request: Call) -> web.Response:
        body = await request.json()
        if (container := self.find(request.match_info["name"])) is None:
            return error(404, "no such container")
        if container.status != "running":
            return error(500, "container state improper")
        session = f"{next(self.numbers):064x}"
        self.execs[session] = FakeExec(container, list(body["Cmd"]))
        return in_json({"Id": session}, status=201)

    async def _start_exec(self, request: Call) -> Answer:
        if (found := self.execs.get(request.match_info["id"])) is None:
            return error(404, "no such exec session")
        does = self.executed(found.container, found.command)
        found.running = True
        self.commands.append((found.container.name, found.command))
        self.spawn(self._executing(found, does))
        return _output(found, does.output)

    async def _inspect_exec(self, request: Call) -> web.Response:
        session = request.match_info["id"]
        if (found := self.execs.get(session)) is None:
            return error(404, "no such exec session")
        answer = {"ID": session, "ContainerID": found.container.id, "Running": found.running}
        return in_json(answer | {"ExitCode": found.exit_code, "Pid": 4243 if found.running else 0})

    def execs_of(self, container: FakeContainer) -> list[str]:
        return [session for session, each in self.execs.items() if each.container is container]

    async def _executing(self, found: FakeExec, does: Command) -> None:
        """It ends after its time, or with its container."""
        container_ends = asyncio.ensure_future(found.container.over.wait())
        killed = asyncio.ensure_future(found.over.wait())
        try:
            await asyncio.wait([container_ends, killed], timeout=does.seconds, return_when=asyncio.FIRST_COMPLETED)
            found.finish(_KILLED if container_ends.done() else does.exit_code)
        finally:
            container_ends.cancel()
            killed.cancel()


class FakeProcesses(Processes):
    """The processes of the fake's commands."""

    def __init__(self, execs: dict[str, FakeExec]) -> None:
        self._execs = execs
        self.builds: list[Build] = []
        self.visible = True  # False: as for an operator in a PID namespace of its own

    async def end(self, session: str, pid: int) -> bool:
        if self.visible and session in self._execs:
            self._execs[session].finish(_KILLED)
        return self.visible

    async def end_build(self, mark: BuildMark) -> None:
        for build in self.builds:
            if self.visible and build.query.get("cgroupparent") == f"/{mark.cgroup}":
                build.killed.set()

    async def tidy(self, session: str) -> bool:
        if self.visible:
            self._execs.pop(session, None)
        return self.visible


async def _output(found: FakeExec, said: bytes) -> Body:
    yield b""  # the headers come at once
    for at in range(0, len(said), 8192):
        piece = said[at : at + 8192]
        yield b"\x01\x00\x00\x00" + len(piece).to_bytes(4, "big") + piece
    await found.over.wait()
